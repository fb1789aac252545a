"""The methods of a net that run its layers, forward and backward.

Source: `Net::ForwardFromTo`, `BackwardFromTo`, `ForwardBackward` and `Reshape` of BVLC Caffe.
"""

from __future__ import annotations

from collections.abc import Sequence

from caffe_spn import device
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
        self._look_ahead()
        return self._loss_value()

    def forward_backward(self) -> float:
        """Run all layers forward and backward and return the weighted loss.

        On a GPU nothing is waited for in between.
        """
        self._run_forward()
        self.backward_pass()
        self._look_ahead()
        return self._loss_value()

    def _look_ahead(self) -> None:
        """While the device computes: let data layers upload what comes next."""
        if device.mode() == device.GPU:
            for layer in self.layers:
                layer.look_ahead()

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
        if self._may_be_graph("forward", last - start + 1):
            self._run_forward_as_graph()
            return
        for i in range(start, last + 1):
            self._notify("before_forward", i)
            self._forward_layer(i)
            self._notify("after_forward", i)

    def _forward_layer(self, i: int, add_losses: bool = True) -> None:
        layer, bottom, top = self.layers[i], self.bottom_vecs[i], self.top_vecs[i]
        try:
            shapes = [t.shape for t in top] if any(layer.loss_weights) else None
            layer.reshape(bottom, top)
            layer.forward(bottom, top)
            if shapes is not None:
                self._fit_loss_weights(layer, top, shapes)
                if add_losses:
                    self._add_losses(layer, top)
        except Exception as error:
            self._say_layer(error, i)
            raise

    def _may_be_graph(self, direction: str, layers: int) -> bool:
        return (
            device.mode() == device.GPU
            and layers == len(self.layers)
            and not any(self._callbacks[f"{when}_{direction}"] for when in ("before", "after"))
        )

    def _run_forward_as_graph(self) -> None:
        # What makes data runs first: it may read files, and its batches are already on their way.
        computing = []
        for i, bottom in enumerate(self.bottom_vecs):
            if bottom:
                computing.append(i)
            else:
                self._forward_layer(i)

        def enqueue(captured: bool) -> None:
            for i in computing:
                # A graph has the losses' values when it is launched.
                self._forward_layer(i, add_losses=not captured)

        if self._forward_graph.run(self, enqueue):
            for i in computing:
                self._add_losses(self.layers[i], self.top_vecs[i])

    def _fit_loss_weights(self, layer, top, shapes) -> None:
        for blob, weight, shape in zip(top, layer.loss_weights, shapes, strict=True):
            if weight and blob.shape != shape:
                blob.diff.fill(weight)

    def _add_losses(self, layer, top) -> None:
        for blob, weight in zip(top, layer.loss_weights, strict=True):
            if weight:
                self._loss.add(blob)

    def backward_pass(self, start: int | None = None, end: int = 0) -> None:
        """Run backward from layer `start` (the last one) down to layer `end`."""
        first = len(self.layers) - 1 if start is None else start
        if self._may_be_graph("backward", first - end + 1):
            self._backward_graph.run(self, lambda _: self._backward_layers(first, end))
            return
        for i in range(first, end - 1, -1):
            self._notify("before_backward", i)
            self._backward_layer(i)
            self._notify("after_backward", i)

    def _backward_layers(self, first: int, end: int) -> None:
        for i in range(first, end - 1, -1):
            self._backward_layer(i)

    def _backward_layer(self, i: int) -> None:
        if self.layer_need_backward[i]:
            try:
                self.layers[i].backward(
                    self.top_vecs[i], self.bottom_need_backward[i], self.bottom_vecs[i]
                )
            except Exception as error:
                self._say_layer(error, i)
                raise

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
        self._zero_diffs.run()

    def _notify(self, event: str, index: int) -> None:
        for callback in self._callbacks[event]:
            callback(index)
