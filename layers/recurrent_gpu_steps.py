"""LSTM and RNN on a GPU: one pass over all steps, but for what a single step computes.

Unlike on the CPU arrays are (steps, streams, values), as the blobs are.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from caffe_spn.layers.recurrent import BIAS, STATIC, WEIGHTS, no_marker_gradient

if TYPE_CHECKING:
    from caffe_spn.cuda.array import DeviceArray


class GpuSteps:
    """One pass of a recurrent layer over all its steps.

    Parameters
    ----------
    layer : Recurrent
    bottom : sequence of Blob

    Attributes
    ----------
    sums : DeviceArray (steps, streams, gates size)
        The input of each step, multiplied by its weights.
    h_in : DeviceArray (steps, streams, size)
        The states h that steps got: 0 where a sequence begins.
    marker : DeviceArray (steps, streams)
    """

    def __init__(self, layer, bottom):
        self.layer, self.bottom = layer, bottom
        self.sums = self.for_steps("sums", layer.gates)
        self.h_in = self.for_steps("h_in")
        self.marker = bottom[1].gpu_data

    def for_steps(self, name: str, factor: int = 1, more: int = 0) -> DeviceArray:
        """An array (steps + more, streams, factor size) that stays until the next forward."""
        layer = self.layer
        shape = (layer.steps + more, layer.streams, factor * layer.outputs)
        return layer.gpu_workspace(name, shape)

    def trace(self, state: str) -> DeviceArray:
        """A state before each step, and after the last."""
        return self.for_steps(state, more=1)

    def after(self, state: str) -> DeviceArray:
        """A state after each step."""
        trace = self.trace(state)
        steps, streams, size = trace.shape
        return trace.part(streams * size, (steps - 1, streams, size))

    def values(self, index: int) -> DeviceArray:
        """Parameter `index`."""
        return self.layer.blobs[index].gpu_data

    @property
    def recurrent_weights(self) -> DeviceArray:
        return self.values(STATIC + self.layer.static)

    # Forward

    def forward(self, top) -> None:
        from caffe_spn.cuda import recurrent

        layer = self.layer
        before = self.bottom[layer.first_state :] if layer.exposed else layer.carried.blobs
        for name, blob in zip(layer.state_names, before, strict=True):
            copy(self.trace(name)[0], blob.gpu_data)
        self._transform_input()
        recurrent.mask(self.trace("h")[0], self.marker[0], self.h_in[0])
        layer.run_steps_gpu(self, top[0].new_gpu_data)
        after = top[1:] if layer.exposed else layer.carried.blobs
        for name, blob in zip(layer.state_names, after, strict=True):
            copy(blob.new_gpu_data, self.trace(name)[layer.steps])

    def _transform_input(self) -> None:
        rows = matrix(self.sums, 2)
        multiply(matrix(self.bottom[0].gpu_data, 2), self.values(WEIGHTS), rows, transpose_b=True)
        add_to_rows(rows, self.values(BIAS))
        if self.layer.static:
            _, streams, size = self.sums.shape
            constant = self.layer.gpu_workspace("static", (streams, size))
            x_static = matrix(self.bottom[2].gpu_data, 1)
            multiply(x_static, self.values(STATIC), constant, transpose_b=True)
            add_to_rows(matrix(self.sums, 1), constant.reshaped(streams * size))

    def add_state(self, t: int) -> None:
        """Let the state, as `h_in` has it, enter the sums of step t."""
        weights = self.recurrent_weights
        multiply(self.h_in[t], weights, self.sums[t], transpose_b=True, add=True)

    def next_marker(self, t: int) -> DeviceArray | None:
        """The markers of the step behind step t, if there is one."""
        return self.marker[t + 1] if t + 1 < self.layer.steps else None

    def next_input(self, t: int) -> tuple[DeviceArray | None, DeviceArray | None]:
        """The markers of the step behind step t, and its part of `h_in`, which step t fills."""
        marker = self.next_marker(t)
        return marker, None if marker is None else self.h_in[t + 1]

    # Backward

    def backward(self, top, propagate_down) -> None:
        from caffe_spn.cuda import recurrent
        from caffe_spn.cuda.runtime import runtime

        layer = self.layer
        if propagate_down[1]:
            raise no_marker_gradient(layer, 1)
        if not any(propagate_down) and not any(layer.param_propagate_down):
            return
        diffs = [
            layer.gpu_workspace(f"{name} diff", (layer.streams, layer.outputs))
            for name in layer.state_names
        ]
        for j, diff in enumerate(diffs):
            # Without exposure nothing is learned across the border of two batches.
            if layer.exposed:
                copy(diff, top[1 + j].gpu_diff)
            else:
                runtime().zero(diff)
        sums_diff = self.for_steps("sums diff", layer.gates)
        layer.run_steps_back_gpu(self, top[0].gpu_diff, sums_diff, diffs)
        if layer.exposed:
            recurrent.mask(diffs[0], self.marker[0], diffs[0])
        self._transform_input_back(propagate_down, sums_diff)
        for i, diff in enumerate(diffs, layer.first_state):
            if layer.exposed and propagate_down[i]:
                copy(self.bottom[i].new_gpu_diff, diff)

    def take_state(self, t: int, sums_diff: DeviceArray, h_diff: DeviceArray) -> None:
        """The derivative of `add_state` by step t's part of `h_in`."""
        if t > 0 or self.layer.exposed:  # else nobody asks for it
            multiply(sums_diff[t], self.recurrent_weights, h_diff)

    def _transform_input_back(self, propagate_down, sums_diff: DeviceArray) -> None:
        layer, rows = self.layer, matrix(sums_diff, 2)
        self.add_product(WEIGHTS, rows, matrix(self.bottom[0].gpu_data, 2))
        self.add_sums(BIAS, rows)
        if propagate_down[0]:
            multiply(rows, self.values(WEIGHTS), matrix(self.bottom[0].new_gpu_diff, 2))
        if layer.static:
            _, streams, size = sums_diff.shape
            total = layer.gpu_workspace("static", (streams, size))
            sum_rows(matrix(sums_diff, 1), total.reshaped(streams * size), add=False)
            self.add_product(STATIC, total, matrix(self.bottom[2].gpu_data, 1))
            if propagate_down[2]:
                multiply(total, self.values(STATIC), matrix(self.bottom[2].new_gpu_diff, 1))
        self.add_product(STATIC + layer.static, rows, matrix(self.h_in, 2))

    def add_product(self, index: int, diff: DeviceArray, values: DeviceArray) -> None:
        """Add diff' values to the diff of a weight, if it is wanted."""
        if self.layer.param_propagate_down[index]:
            target = self.layer.blobs[index].mutable_gpu_diff
            multiply(diff, values, target, transpose_a=True, add=True)

    def add_sums(self, index: int, diff: DeviceArray) -> None:
        """Add the sum of the rows to the diff of a bias, if it is wanted."""
        if self.layer.param_propagate_down[index]:
            sum_rows(diff, self.layer.blobs[index].mutable_gpu_diff, add=True)


def matrix(array: DeviceArray, axes: int) -> DeviceArray:
    """`array` as a matrix: one row for each index of its first `axes` axes."""
    return array.reshaped(math.prod(array.shape[:axes]), math.prod(array.shape[axes:]))


def multiply(
    a: DeviceArray,
    b: DeviceArray,
    c: DeviceArray,
    transpose_a: bool = False,
    transpose_b: bool = False,
    add: bool = False,
) -> None:
    """c = op(a) op(b), or c += it with `add`."""
    from caffe_spn.cuda.gemm import gemm

    gemm(transpose_a, transpose_b, 1.0, a, b, float(add), c)


def add_to_rows(rows: DeviceArray, values: DeviceArray) -> None:
    """rows[i] += values, for every i."""
    from caffe_spn.cuda import scale

    scale.scale(rows, rows, (*rows.shape, 1), summands=values)


def sum_rows(rows: DeviceArray, target: DeviceArray, add: bool) -> None:
    """target = rows[0] + rows[1] + ..., after what was there with `add`."""
    from caffe_spn.cuda import scale

    scale.summand_gradient(rows, (*rows.shape, 1), target, accumulate=add)


def copy(target: DeviceArray, source: DeviceArray) -> None:
    """Copy all elements."""
    from caffe_spn.cuda.runtime import runtime

    runtime().copy(target, source)
