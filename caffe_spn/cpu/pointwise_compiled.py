"""Pointwise work on flat float32 arrays of equal length; results may overwrite their inputs."""

from __future__ import annotations

import numpy as np
from numba import prange

from caffe_spn.cpu.jit import jit

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
def weighted_sum(a, b, out, weight_a, weight_b):
    """out = weight_a * a + weight_b * b"""
    for i in prange(a.size):
        out[i] = weight_a * a[i] + weight_b * b[i]
