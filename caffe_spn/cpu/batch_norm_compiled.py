"""Batch normalisation of float32 arrays (N, C, positions), one channel a turn.

A channel of a batch usually fits the cache, so that the passes over it after the first are cheap.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from caffe_spn.cpu.channel_sums import row_dot, row_square_sum, row_sum
from caffe_spn.cpu.jit import float_view, jit


@jit(parallel=True)
def forward(x, eps, y, saved, mean, variance):
    """y = saved = (x - mean) / sqrt(variance + eps), with the statistics of x."""
    batch, channels, positions = x.shape
    count = batch * positions
    for c in prange(channels):
        total = 0.0
        for n in range(batch):
            total += row_sum(float_view(x[n, c], (positions,)))
        center = np.float32(total / count)
        total = 0.0
        for n in range(batch):
            total += row_square_sum(float_view(x[n, c], (positions,)), center)
        mean[c] = center
        variance[c] = np.float32(total / count)
        factor = np.float32(1 / np.sqrt(total / count + eps))
        for n in range(batch):
            source = float_view(x[n, c], (positions,))
            target = float_view(y[n, c], (positions,))
            kept = float_view(saved[n, c], (positions,))
            for i in range(positions):
                value = (source[i] - center) * factor
                target[i] = value
                kept[i] = value


@jit(parallel=True)
def normalize(x, mean, factor, y):
    """y = (x - mean) factor, for each channel."""
    batch, channels, positions = x.shape
    for plane in prange(batch * channels):
        n, c = np.int64(plane) // channels, np.int64(plane) % channels
        center, scale = mean[c], factor[c]
        source = float_view(x[n, c], (positions,))
        target = float_view(y[n, c], (positions,))
        for i in range(positions):
            target[i] = (source[i] - center) * scale


@jit(parallel=True)
def backward(y_diff, saved, factor, x_diff):
    """x_diff = (y_diff - mean(y_diff) - mean(y_diff saved) saved) factor, for each channel."""
    batch, channels, positions = y_diff.shape
    count = batch * positions
    for c in prange(channels):
        total, product = 0.0, 0.0
        for n in range(batch):
            diff = float_view(y_diff[n, c], (positions,))
            total += row_sum(diff)
            product += row_dot(diff, float_view(saved[n, c], (positions,)))
        center, slope = np.float32(total / count), np.float32(product / count)
        scale = factor[c]
        for n in range(batch):
            diff = float_view(y_diff[n, c], (positions,))
            kept = float_view(saved[n, c], (positions,))
            target = float_view(x_diff[n, c], (positions,))
            for i in range(positions):
                target[i] = (diff[i] - center - slope * kept[i]) * scale
