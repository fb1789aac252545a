"""What the layers LSTM and RNN share: parameters, shapes, and the state that is carried on.

Caffe writes out a net of all T time steps inside such a layer, some ten layers a step. Here the
steps are computed directly: the part of the input is one matrix product for all steps, and each
step is left with one product and a few passes over its values. The numbers and the parameters are
Caffe's, no small layer is called T times, and T may change from one forward to the next.

Source: `RecurrentLayer` of BVLC Caffe; J. Donahue et al., "Long-term recurrent convolutional
networks for visual recognition and description", 2015.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from caffe_spn.blob import Blob
from caffe_spn.cpu.matmul import matmul
from caffe_spn.errors import DataError, PrototxtError
from caffe_spn.layer import Layer
from caffe_spn.layers.carried_state import CarriedState
from caffe_spn.layers.recurrent_gpu import RecurrentOnGpu
from caffe_spn.roles import Roles

# The parameters that every recurrent layer has; the static one, if there is one, is in between.
WEIGHTS, BIAS, STATIC = 0, 1, 2
# So many steps gain what it costs to transpose the recurrent weights.
COPY_FROM = 5


class Recurrent(RecurrentOnGpu):
    """Base of layers that go through T time steps of N independent streams.

    A subclass says what a step computes from `sums`, the step's input already multiplied by the
    weights (T, `gates` H, N), in `run_steps` and `run_steps_back`, and the same for a GPU.
    """

    gates: ClassVar[int]
    state_names: ClassVar[tuple[str, ...]]
    no_backward_bottoms = (1,)

    def __init__(self, layer_param=None, phase=None, dtype=np.float32):
        super().__init__(layer_param, phase, dtype)
        self.exposed = self.layer_param.recurrent_param.expose_hidden
        shown = self.state_names if self.exposed else ()
        first, last = [f"{s}_0" for s in shown], [f"{s}_T" for s in shown]
        self.bottoms = Roles(("x", "cont", "x_static?", *first))
        self.tops = Roles((type(self).tops.names[0], *last))

    # What a subclass defines

    def output_params(self) -> list[tuple]:
        """Shapes and fillers of the parameters after those that all recurrent layers have."""
        return []

    def run_steps(self, sums, cont) -> np.ndarray:
        """Fill `trace` of each state from index 1 on; the output of all steps (T, N, H)."""
        raise NotImplementedError

    def run_steps_back(self, top_diff, cont, sums_diff, state_diffs) -> None:
        """Fill `sums_diff`, and turn the diffs of the last states into those of the first."""
        raise NotImplementedError

    def debug_forward(self) -> list[tuple]:
        """For `debug_info`: (layer, blob, values of all steps) with the names in Caffe's net."""
        raise NotImplementedError

    # Shapes and parameters

    def setup(self, bottom, top):
        param = self.layer_param.recurrent_param
        self.outputs = param.num_output
        if self.outputs < 1:
            raise self.param_error("has num_output 0; it must be positive", help="state num_output")
        self.first_state = len(bottom) - (len(self.state_names) if self.exposed else 0)
        self.static = self.first_state > 2
        self._check_sequence(bottom)
        rows, weight, bias = self.gates * self.outputs, param.weight_filler, param.bias_filler
        wanted = [((rows, _features(bottom[0], 2)), weight), ((rows,), bias)]
        if self.static:
            wanted.append(((rows, _features(bottom[2], 1)), weight))
        wanted.append(((rows, self.outputs), weight))
        wanted += self.output_params()
        if not self.blobs:
            for shape, filler in wanted:
                self.add_param(shape, filler)
        shapes = [shape for shape, _ in wanted]
        if [blob.shape for blob in self.blobs] != shapes:
            raise self.shape_error(
                f"was given blobs of shapes {[blob.shape for blob in self.blobs]}; its parameters"
                f" ask for {shapes}",
                help="compare num_output and the inputs",
            )
        self.carried = CarriedState(self.state_names, self.outputs, self.dtype)

    def _check_sequence(self, bottom) -> None:
        x, cont = bottom[0].shape, bottom[1].shape
        if len(x) < 3 or x[0] < 1:
            raise self.shape_error(
                f"bottom 0 (x) is {x}; it must have at least 3 axes: (T, N, ...), T steps of N"
                " streams",
                help="put a Reshape layer in front of it",
            )
        if cont != x[:2]:
            raise self.shape_error(
                f"bottom 1 (cont) is {cont}; it must be {x[:2]}, one marker for each step and"
                f" stream of bottom 0 (x), {x}",
                help="0 where a sequence begins, 1 where it goes on",
            )
        if self.static and (len(bottom[2].shape) < 2 or bottom[2].shape[0] != x[1]):
            raise self.shape_error(
                f"bottom 2 (x_static) is {bottom[2].shape}; it must be ({x[1]}, ...), one input"
                f" for each stream of bottom 0 (x), {x}",
                help="it has no time axis: it is the same at every step",
            )

    def reshape(self, bottom, top):
        self._check_sequence(bottom)
        self._check_features(0, "x", _features(bottom[0], 2), WEIGHTS)
        if self.static:
            self._check_features(2, "x_static", _features(bottom[2], 1), STATIC)
        self.steps, self.streams = bottom[0].shape[:2]
        state_shape = (1, self.streams, self.outputs)
        for i, blob in enumerate(bottom[self.first_state :], self.first_state):
            if blob.shape != state_shape:
                raise self.shape_error(
                    f"bottom {i} ({self.state_names[i - self.first_state]}_0) is {blob.shape}; it"
                    f" must be {state_shape}: one state for each stream",
                    help="compare num_output and the number of streams (axis 1 of x)",
                )
        top[0].reshape(self.steps, self.streams, self.outputs)
        for blob in top[1:]:
            blob.reshape(*state_shape)
        if not self.exposed:
            self.carried.reshape(self.streams)

    def _check_features(self, index: int, name: str, found: int, blob: int) -> None:
        wanted = self.blobs[blob].shape[1]
        if found != wanted:
            raise self.shape_error(
                f"bottom {index} ({name}) has {found} values for each stream; the weights were"
                f" made for {wanted}",
                help="only the numbers of steps and streams may change",
            )

    # Forward and backward; while the steps run, arrays are (values, streams): cpu/recurrent_step.py

    def trace(self, state: str) -> np.ndarray:
        """A state before each step, and after the last: (T + 1, H, N)."""
        return self.workspace(state, (self.steps + 1, self.outputs, self.streams))

    def for_steps(self, name: str, factor: int = 1) -> np.ndarray:
        """An array (T, factor H, N) that stays as it is until the next forward."""
        return self.workspace(name, (self.steps, factor * self.outputs, self.streams))

    def rows(self, name: str, values: np.ndarray) -> np.ndarray:
        """A copy of (T, values, N) as (T N, values): what the products over all steps take."""
        steps, size, streams = values.shape
        copy = self.workspace(f"{name} rows", (steps, streams, size))
        copy[...] = values.transpose(0, 2, 1)
        return copy.reshape(steps * streams, size)

    def forward_cpu(self, bottom, top):
        before = bottom[self.first_state :] if self.exposed else self.carried.blobs
        for name, blob in zip(self.state_names, before, strict=True):
            self.trace(name)[0] = blob.data[0].T
        sums = self.for_steps("sums", self.gates)
        self._transform_input(bottom, sums)
        top[0].data[...] = self.run_steps(sums, bottom[1].data)
        after = top[1:] if self.exposed else self.carried.blobs
        for name, blob in zip(self.state_names, after, strict=True):
            blob.data[0] = self.trace(name)[-1].T
        if self.layer_param.recurrent_param.debug_info:
            self._debug("Forward", "top", "data", self.debug_forward())

    def _transform_input(self, bottom, sums) -> None:
        """The part of the sums that does not depend on the states, for all steps at once."""
        steps, size, streams = sums.shape
        rows = self.workspace("sums rows", (steps * streams, size))
        matmul(_matrix(bottom[0].data, 2), self.blobs[WEIGHTS].data, rows, transpose_b=True)
        constant = self.blobs[BIAS].data[:, None]
        if self.static:
            static = self.workspace("static", (size, streams))
            x_static = _matrix(bottom[2].data, 1)
            matmul(self.blobs[STATIC].data, x_static, static, transpose_b=True)
            static += constant
            constant = static
        np.add(rows.reshape(steps, streams, size).transpose(0, 2, 1), constant, out=sums)

    @property
    def recurrent_weights(self) -> np.ndarray:
        return self.blobs[STATIC + self.static].data

    def transposed_weights(self) -> np.ndarray:
        """The recurrent weights for the way back; a copy where its faster products pay for it."""
        weights = self.recurrent_weights.T
        if self.steps < COPY_FROM:
            return weights
        copy = self.workspace("transposed weights", weights.shape)
        copy[...] = weights
        return copy

    def backward_cpu(self, top, propagate_down, bottom):
        if propagate_down[1]:
            raise no_marker_gradient(self, 1)
        if not any(propagate_down) and not any(self.param_propagate_down):
            return
        state_diffs = [
            self.workspace(f"{name} diff", (self.outputs, self.streams))
            for name in self.state_names
        ]
        for j, diff in enumerate(state_diffs):
            # Without exposure nothing is learned across the border of two batches.
            diff[...] = top[1 + j].diff[0].T if self.exposed else 0
        sums_diff = self.for_steps("sums diff", self.gates)
        self.run_steps_back(top[0].diff, bottom[1].data, sums_diff, state_diffs)
        self._transform_input_back(bottom, propagate_down, self.rows("sums", sums_diff))
        for i, diff in enumerate(state_diffs, self.first_state):
            if self.exposed and propagate_down[i]:
                bottom[i].diff[0] = diff.T
        if self.layer_param.recurrent_param.debug_info:
            entries = [("gate_input", "gate_input", sums_diff)]
            self._debug("Backward", "bottom", "diff", entries)

    def _transform_input_back(self, bottom, propagate_down, diff) -> None:
        self.add_product(WEIGHTS, diff, _matrix(bottom[0].data, 2))
        if self.param_propagate_down[BIAS]:
            self.blobs[BIAS].diff[...] += diff.sum(axis=0)
        if propagate_down[0]:
            matmul(diff, self.blobs[WEIGHTS].data, _matrix(bottom[0].diff, 2))
        if self.static:
            total = self.workspace("static", (self.streams, diff.shape[1]))
            np.sum(diff.reshape(self.steps, *total.shape), axis=0, out=total)
            self.add_product(STATIC, total, _matrix(bottom[2].data, 1))
            if propagate_down[2]:
                matmul(total, self.blobs[STATIC].data, _matrix(bottom[2].diff, 1))
        self.add_product(STATIC + self.static, diff, self.rows("h", self.for_steps("h_in")))

    def add_product(self, index: int, diff, values) -> None:
        """Add diff' values to the diff of a weight, if it is wanted."""
        if self.param_propagate_down[index]:
            matmul(diff, values, self.blobs[index].diff, transpose_a=True, add=True)

    # The state between batches

    def reset(self) -> None:
        """Forget the carried state: the next forward begins at zero, whatever `cont` says."""
        self.carried.reset()

    def state(self) -> dict:
        """The carried state, so that a resumed training goes on as an uninterrupted one."""
        return {} if self.exposed else self.carried.to_json()

    def restore_state(self, state: dict) -> None:
        """Go on where `state` was taken."""
        if self.exposed:
            return
        try:
            self.carried.from_json(state)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"cannot go on from {str(state)[:80]}; its state is {', '.join(self.state_names)},"
                f" {self.outputs} values for each stream",
                where=self.where,
                help="resume with the network that wrote the snapshot",
            ) from error

    def _debug(self, direction: str, role: str, what: str, entries) -> None:
        from caffe_spn.training_log import info

        steps = range(self.steps) if direction == "Forward" else reversed(range(self.steps))
        for t in steps:
            for layer, blob, values in entries:
                mean = float(np.abs(values[t]).mean()) if values[t].size else 0.0
                info(
                    f"    [{direction}] Layer {self.layer_param.name}_{layer}_{t + 1},"
                    f" {role} blob {blob}_{t + 1} {what}: {mean:g}",
                    "net.cpp:593" if direction == "Forward" else "net.cpp:621",
                )


def _features(blob: Blob, axis: int) -> int:
    return math.prod(blob.shape[axis:])


def _matrix(array: np.ndarray, axes: int) -> np.ndarray:
    """`array` as a matrix: one row for each index of its first `axes` axes."""
    return array.reshape(math.prod(array.shape[:axes]), math.prod(array.shape[axes:]))


def no_marker_gradient(layer: Layer, index: int) -> PrototxtError:
    """The error where a layer below the sequence markers wants to learn."""
    return layer.param_error(
        f"cannot compute a gradient of bottom {index} (cont): the markers are not learned",
        help="take the markers from a data layer, or state propagate_down: false for them",
    )
