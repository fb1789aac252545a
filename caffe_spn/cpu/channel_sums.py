"""Sums over images and positions, one for each channel."""

from __future__ import annotations

import numpy as np
from numba import prange

from caffe_spn.cpu.jit import float_view, jit

LANES = 64


@jit()
def row_sum(row, lanes):
    """The sum of a row, in 64 interleaved parts.

    Parts of their own let the processor add many numbers at once and, as each is short, lose far
    less precision than one long float32 sum.
    """
    whole = row.size // LANES * LANES
    lanes[:] = 0
    for start in range(0, whole, LANES):
        piece = row[start : start + LANES]
        for i in range(LANES):
            lanes[i] += piece[i]
    total = 0.0
    for i in range(LANES):
        total += np.float64(lanes[i])
    for i in range(whole, row.size):
        total += np.float64(row[i])
    return total


@jit(parallel=True)
def add_channel_sums(x, sums):
    """sums[c] += the sum of x[:, c, :], for x (N, C, positions)."""
    batch, channels, positions = x.shape
    for c in prange(channels):
        lanes = np.empty(LANES, np.float32)
        total = 0.0
        for n in range(batch):
            total += row_sum(float_view(x[n, c], (positions,)), lanes)
        sums[c] += np.float32(total)
