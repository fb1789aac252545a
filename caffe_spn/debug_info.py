"""What `debug_info: true` shows: the mean absolute value of every blob, forward and backward.

Source: `Net::ForwardDebugInfo`, `BackwardDebugInfo` and `UpdateDebugInfo` of BVLC Caffe.
"""

from __future__ import annotations

import math

import numpy as np

from caffe_spn.training_log import info


class DebugInfo:
    """Logs a net's blobs as its layers run, while `enabled`.

    Parameters
    ----------
    net : Net

    Attributes
    ----------
    enabled : bool
        False after construction. The solver sets it for the training iterations that are displayed,
        and for all tests; a net that states `debug_info` itself has it set outside of solvers.
    """

    def __init__(self, net):
        self.enabled = False
        self._net = net
        net.after_forward(self._forward)
        net.after_backward(self._backward)

    def _forward(self, index: int) -> None:
        if not self.enabled:
            return
        net = self._net
        start = f"    [Forward] Layer {net.layer_names[index]}"
        for blob_id in net._top_ids(index):
            mean = _mean_abs(net._blobs[blob_id].cpu_data)
            info(f"{start}, top blob {net.blob_names[blob_id]} data: {mean:g}", "net.cpp:593")
        for number, name in self._parameters(index):
            mean = _mean_abs(net.layers[index].blobs[number].cpu_data)
            info(f"{start}, param blob {name} data: {mean:g}", "net.cpp:605")

    def _backward(self, index: int) -> None:
        if self.enabled and self._net.layer_need_backward[index]:
            self._backward_layer(index)
        if self.enabled and index == 0:
            self._totals()

    def _backward_layer(self, index: int) -> None:
        net = self._net
        start = f"    [Backward] Layer {net.layer_names[index]}"
        wanted = net.bottom_need_backward[index]
        for blob_id, need in zip(net._bottom_ids(index), wanted, strict=True):
            if need:
                mean = _mean_abs(net._blobs[blob_id].cpu_diff)
                info(
                    f"{start}, bottom blob {net.blob_names[blob_id]} diff: {mean:g}", "net.cpp:621"
                )
        layer = net.layers[index]
        for number, blob in enumerate(layer.blobs):
            if layer.param_propagate_down[number]:
                # By its number, even where it has a name.
                mean = _mean_abs(blob.cpu_diff)
                info(f"{start}, param blob {number} diff: {mean:g}", "net.cpp:632")

    def _totals(self) -> None:
        data = [blob.cpu_data.ravel() for blob in self._net.learnable_params]
        diff = [blob.cpu_diff.ravel() for blob in self._net.learnable_params]
        info(
            "    [Backward] All net params (data, diff):"
            f" L1 norm = ({_l1(data):g}, {_l1(diff):g});"
            f" L2 norm = ({_l2(data):g}, {_l2(diff):g})",
            "net.cpp:680",
        )

    def _parameters(self, index: int):
        """Number and displayed name of each parameter: its `name`, or its number."""
        layer = self._net.layers[index]
        specs = layer.layer_param.param
        for number in range(len(layer.blobs)):
            name = specs[number].name if number < len(specs) else ""
            yield number, name or str(number)


def _mean_abs(values: np.ndarray) -> float:
    return float(np.abs(values).mean()) if values.size else 0.0


def _l1(arrays) -> float:
    return sum(float(np.abs(a).sum()) for a in arrays)


def _l2(arrays) -> float:
    return math.sqrt(sum(float(np.dot(a, a)) for a in arrays))
