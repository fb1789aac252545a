"""The methods of a net that run its layers, forward and backward.

Source: `Net::ForwardFromTo`, `BackwardFromTo`, `ForwardBackward` and `Reshape` of BVLC Caffe.
"""

from __future__ import annotations

from collections.abc import Sequence

from caffe_spn.blob import Blob
from caffe_spn.errors import CaffeSpnError


class RunningNet:
    """What `caffe_spn.net.Net` does with its layers once they are made."""

    # What a solver remembers of the parameters: where memory is short, it counts.
    history_blobs: Sequence[Blob] = ()

    def forward_loss(self, start: int = 0, end: int | None = None) -> float:
        """Run layers `start` to `end` (both included) and return the weighted loss.

        Raises
        ------
        CaffeSpnError
            From a layer, with the definition's file and line added.
        """
        self._run_forward(start, end)
        return self._loss_value()

    def forward_backward(self) -> float:
        """Run all layers forward and backward and return the weighted loss.

        On a GPU nothing is waited for in between.
        """
        self._run_forward()
        self.backward_pass()
        return self._loss_value()

    def _loss_value(self) -> float:
        try:
            return self._loss.value()
        except CaffeSpnError as error:
            # What only the device saw comes to light here; it names its layer itself.
            for i, layer in enumerate(self.layers):
                if layer.where == error.where:
                    self._say_layer(error, i)
            raise

    def _run_forward(self, start: int = 0, end: int | None = None) -> None:
        last = len(self.layers) - 1 if end is None else end
        self._loss.start()
        for i in range(start, last + 1):
            layer, bottom, top = self.layers[i], self.bottom_vecs[i], self.top_vecs[i]
            self._notify("before_forward", i)
            try:
                shapes = [t.shape for t in top] if any(layer.loss_weights) else None
                layer.reshape(bottom, top)
                layer.forward(bottom, top)
                if shapes is not None:
                    self._add_losses(layer, top, shapes)
            except Exception as error:
                self._say_layer(error, i)
                raise
            self._notify("after_forward", i)

    def _add_losses(self, layer, top, shapes) -> None:
        for blob, weight, shape in zip(top, layer.loss_weights, shapes, strict=True):
            if weight:
                if blob.shape != shape:
                    blob.diff.fill(weight)
                self._loss.add(blob)

    def backward_pass(self, start: int | None = None, end: int = 0) -> None:
        """Run backward from layer `start` (the last one) down to layer `end`."""
        first = len(self.layers) - 1 if start is None else start
        for i in range(first, end - 1, -1):
            self._notify("before_backward", i)
            if self.layer_need_backward[i]:
                try:
                    self.layers[i].backward(
                        self.top_vecs[i], self.bottom_need_backward[i], self.bottom_vecs[i]
                    )
                except Exception as error:
                    self._say_layer(error, i)
                    raise
            self._notify("after_backward", i)

    def reshape(self) -> None:
        """Pass the shapes of the inputs on through all layers."""
        for i, layer in enumerate(self.layers):
            try:
                layer.reshape(self.bottom_vecs[i], self.top_vecs[i])
            except Exception as error:
                self._say_layer(error, i)
                raise

    def clear_param_diffs(self) -> None:
        """Set the diffs of all parameters to zero."""
        for blob in self.learnable_params:
            blob.zero_diff()

    def _notify(self, event: str, index: int) -> None:
        for callback in self._callbacks[event]:
            callback(index)
