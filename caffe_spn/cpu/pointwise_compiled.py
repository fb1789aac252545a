"""Pointwise work on float32 arrays; results may overwrite their inputs.

The arrays are flat and of equal length, except where another shape is stated.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from caffe_spn.cpu.exponential import exp_nonpositive
from caffe_spn.cpu.jit import float_view, jit

ZERO, ONE = np.float32(0), np.float32(1)


@jit(parallel=True)
def rectify(x, y, slope):
    """y = x where x > 0 (or NaN), slope * x elsewhere."""
    if slope == 0:  # not a factor: -inf * 0 would be NaN
        for i in prange(x.size):
            y[i] = ZERO if x[i] <= 0 else x[i]
    else:
        for i in prange(x.size):
            y[i] = slope * x[i] if x[i] <= 0 else x[i]


@jit(parallel=True)
def rectify_backward(x, y_diff, x_diff, slope):
    """x_diff = y_diff where x > 0, slope * y_diff elsewhere."""
    for i in prange(x.size):
        x_diff[i] = y_diff[i] * (ONE if x[i] > 0 else slope)


@jit(parallel=True)
def rectify_channels(x, slopes, y):
    """`rectify` of x (N, C, positions) with a slope for each channel."""
    batch, channels, positions = x.shape
    for plane in prange(batch * channels):
        n, c = np.int64(plane) // channels, np.int64(plane) % channels
        slope = slopes[c]
        source = float_view(x[n, c], (positions,))
        target = float_view(y[n, c], (positions,))
        for i in range(positions):
            target[i] = slope * source[i] if source[i] <= 0 else source[i]


@jit(parallel=True)
def rectify_channels_backward(x, y_diff, slopes, x_diff):
    """`rectify_backward` with a slope for each channel."""
    batch, channels, positions = x.shape
    for plane in prange(batch * channels):
        n, c = np.int64(plane) // channels, np.int64(plane) % channels
        slope = slopes[c]
        source = float_view(x[n, c], (positions,))
        diff = float_view(y_diff[n, c], (positions,))
        target = float_view(x_diff[n, c], (positions,))
        for i in range(positions):
            target[i] = diff[i] * (ONE if source[i] > 0 else slope)


@jit(parallel=True)
def elu(x, y, alpha):
    """y = x where x > 0, alpha * (exp(x) - 1) elsewhere."""
    for i in prange(x.size):
        y[i] = x[i] if x[i] > 0 else alpha * (exp_nonpositive(x[i]) - ONE)


@jit(parallel=True)
def elu_backward(x, y, y_diff, x_diff, alpha):
    """x_diff = y_diff where x > 0, (alpha + y) * y_diff elsewhere."""
    for i in prange(x.size):
        x_diff[i] = y_diff[i] * (ONE if x[i] > 0 else alpha + y[i])


@jit(parallel=True)
def sigmoid(x, y):
    """y = 1 / (1 + exp(-x))"""
    for i in prange(x.size):
        # The smaller of y and 1 - y has no digits lost this way.
        small = exp_nonpositive(-abs(x[i]))
        y[i] = (small if x[i] < 0 else ONE) / (ONE + small)


@jit(parallel=True)
def sigmoid_backward(y, y_diff, x_diff):
    """x_diff = y_diff * y * (1 - y)"""
    for i in prange(y.size):
        x_diff[i] = y_diff[i] * (y[i] * (ONE - y[i]))


@jit(parallel=True)
def tanh_backward(y, y_diff, x_diff):
    """x_diff = y_diff * (1 - y^2)"""
    for i in prange(y.size):
        x_diff[i] = y_diff[i] * (ONE - y[i] * y[i])


@jit(parallel=True)
def weighted_sum(a, b, out, weight_a, weight_b):
    """out = weight_a * a + weight_b * b"""
    for i in prange(a.size):
        out[i] = weight_a * a[i] + weight_b * b[i]


@jit(parallel=True)
def larger_of_two(a, b, out, winner):
    """out = the larger of a and b, or NaN; winner = 1 where b is at least a, else 0."""
    for i in prange(a.size):
        value, other = a[i], b[i]
        winner[i] = value <= other
        out[i] = value if value > other or value != value else other


@jit(parallel=True)
def keep_larger(x, out, winner, index):
    """out = x and winner = index where x is larger than out; a NaN in x goes to out."""
    for i in prange(x.size):
        value, best = x[i], out[i]
        winner[i] = index if value > best else winner[i]
        out[i] = value if value > best or value != value else best


@jit(parallel=True)
def select(winner, y_diff, x_diff, index):
    """x_diff = y_diff where winner is index, else 0 (or NaN)."""
    for i in prange(y_diff.size):
        x_diff[i] = y_diff[i] * (ONE if winner[i] == index else ZERO)
