"""Sums over a row of float32 numbers, and over images and positions for each channel.

These loops alone may reorder additions: many partial sums run side by side, which is faster and,
as each of them is short, more precise than adding up one number after the other. Sums of rows are
added in float64.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from caffe_spn.cpu.jit import FAST, float_view, jit

_reduction = njit(
    cache=True, nogil=True, error_model="numpy", fastmath=FAST | {"reassoc"}, inline="never"
)


@_reduction
def row_sum(row):
    """The sum of a row."""
    total = np.float32(0)
    for i in range(row.size):
        total += row[i]
    return np.float64(total)


@_reduction
def row_square_sum(row, shift):
    """The sum of (row - shift)^2."""
    total = np.float32(0)
    for i in range(row.size):
        value = row[i] - shift
        total += value * value
    return np.float64(total)


@_reduction
def row_dot(row, other):
    """The sum of row * other."""
    total = np.float32(0)
    for i in range(row.size):
        total += row[i] * other[i]
    return np.float64(total)


@jit(parallel=True)
def add_channel_sums(x, sums):
    """sums[c] += the sum of x[:, c, :], for x (N, C, positions)."""
    batch, channels, positions = x.shape
    for c in prange(channels):
        total = 0.0
        for n in range(batch):
            total += row_sum(float_view(x[n, c], (positions,)))
        sums[c] += np.float32(total)
