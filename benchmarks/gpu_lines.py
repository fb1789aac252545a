"""Launches gpu_lines.cu: the recurrence with one launch for each line, to compare with."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.runtime import THREADS, blocks, runtime

SOURCE = str(Path(__file__).with_name("gpu_lines.cu"))
DIRECTIONS, GATES = 4, 3


def _launch(kernel: str, count: int, *arguments) -> None:
    runtime().launch(SOURCE, kernel, blocks(count), THREADS, *arguments)


def _lines(shape, direction: int) -> tuple[int, int]:
    """How many lines there are, and the elements that one launch takes."""
    N, C, H, W = shape
    steps, length = (W, H) if direction < 2 else (H, W)
    return steps, N * C * length


def scan(x, g1, g2, g3, h, direction: int) -> None:
    """As `caffe_spn.cuda.gate_recurrent.forward`."""
    N, C, H, W = x.shape
    steps, count = _lines(x.shape, direction)
    for t in range(steps):
        _launch("line_forward", count, x, g1, g2, g3, h, N * C, H, W, direction, t)


def scan_backward(x, g1, g2, g3, h, h_diff, x_diff, d1, d2, d3, direction: int) -> None:
    """As `caffe_spn.cuda.gate_recurrent.backward`, but h_diff is changed."""
    N, C, H, W = x.shape
    steps, count = _lines(x.shape, direction)
    arrays = (x, g1, g2, g3, h, h_diff, x_diff, d1, d2, d3)
    for t in range(steps - 1, -1, -1):
        _launch("line_backward", count, *arrays, N * C, H, W, direction, t)


class Propagation:
    """The whole unit: three-way, SUM_ABS, MAX.

    Parameters
    ----------
    shape : (N, C, H, W)
    training : bool, default False
        Whether there will be a backward pass.
    """

    def __init__(self, shape, training: bool = False):
        gpu, four = runtime(), (DIRECTIONS, *shape)
        self.gates = gpu.array((DIRECTIONS, GATES, *shape))
        self.h = gpu.array(four)
        self.winners = gpu.array(shape, np.uint8)
        if training:
            self.gate_diffs = gpu.array(self.gates.shape)
            self.h_diffs, self.x_diffs = gpu.array(four), gpu.array(four)

    def forward(self, x: DeviceArray, guidance: DeviceArray, out: DeviceArray) -> None:
        count, row = x.size, math.prod(x.shape[1:])
        _launch("normalise", count, guidance, self.gates, count, row)
        for d in range(DIRECTIONS):
            gates = self.gates[d]
            scan(x, gates[0], gates[1], gates[2], self.h[d], d)
        _launch("largest", count, self.h, out, self.winners, count)

    def backward(self, x, guidance, out_diff, x_diff, guidance_diff) -> None:
        """Derivatives, after `forward`."""
        count, row = x.size, math.prod(x.shape[1:])
        _launch("largest_backward", count, out_diff, self.winners, self.h_diffs, count)
        for d in range(DIRECTIONS):
            gates, diffs = self.gates[d], self.gate_diffs[d]
            arrays = (x, gates[0], gates[1], gates[2], self.h[d], self.h_diffs[d])
            scan_backward(*arrays, self.x_diffs[d], diffs[0], diffs[1], diffs[2], d)
        _launch("sum_directions", count, self.x_diffs, x_diff, count)
        _launch("normalise_backward", count, guidance, self.gate_diffs, guidance_diff, count, row)
