"""Convolution in NumPy: any number of axes, any type; slower, and simple enough to trust.

For every offset of the kernel, the pixels under it form a (strided) window of the padded map, and
one product of the weights at that offset with the window serves all images.

x is (N, C, ...), w (K, C / group, ...), y (N, K, ...).
"""

from __future__ import annotations

import itertools
import math

import numpy as np


def _windows(geometry, out):
    """For each kernel offset: itself, and the slices of the padded map under it."""
    strides, dilations = geometry.stride, geometry.dilation
    for offset in itertools.product(*map(range, geometry.kernel)):
        starts = [o * d for o, d in zip(offset, dilations, strict=True)]
        ends = [a + (n - 1) * s + 1 for a, n, s in zip(starts, out, strides, strict=True)]
        yield offset, tuple(slice(a, b, s) for a, b, s in zip(starts, ends, strides, strict=True))


def _padded(x, geometry, out):
    margins = geometry.margins(x.shape[2:], out)
    return np.pad(x, [(0, 0), (0, 0), *margins]) if np.any(margins) else x


def _grouped(x, group: int, spatial):
    """(N, C, ...) as (N, group, C / group, pixels)."""
    return x.reshape(len(x), group, x.shape[1] // group, math.prod(spatial))


def _grouped_weights(w, group: int, offset):
    """The weights at one offset, (group, K / group, C / group)."""
    return w[(slice(None), slice(None), *offset)].reshape(group, -1, w.shape[1])


def forward(x, w, bias, y, geometry) -> None:
    """y = x convolved with w, plus bias (or None)."""
    group, out = geometry.group, y.shape[2:]
    total = np.zeros((len(y), group, y.shape[1] // group, math.prod(out)), y.dtype)
    padded = _padded(x, geometry, out)
    for offset, window in _windows(geometry, out):
        pixels = _grouped(padded[(..., *window)], group, out)
        total += _grouped_weights(w, group, offset) @ pixels
    y[...] = total.reshape(y.shape)
    if bias is not None:
        y += bias.reshape(-1, *[1] * len(out))


def backward_data(y_diff, w, bias, x_diff, geometry) -> None:
    """x_diff = the transposed convolution of y_diff by w, plus bias (or None)."""
    group = geometry.group
    spatial, out = x_diff.shape[2:], y_diff.shape[2:]
    margins = geometry.margins(spatial, out)
    sizes = [n + before + behind for n, (before, behind) in zip(spatial, margins, strict=True)]
    padded = np.zeros((*x_diff.shape[:2], *sizes), x_diff.dtype)
    diff = _grouped(y_diff, group, out)
    for offset, window in _windows(geometry, out):
        pixels = _grouped_weights(w, group, offset).swapaxes(1, 2) @ diff
        padded[(..., *window)] += pixels.reshape(x_diff.shape[:2] + out)
    inner = tuple(slice(p, p + n) for n, p in zip(spatial, geometry.pad, strict=True))
    x_diff[...] = padded[(..., *inner)]
    if bias is not None:
        x_diff += bias.reshape(-1, *[1] * len(spatial))


def backward_weights(y_diff, x, w_diff, geometry) -> None:
    """Add to w_diff the derivative by the weights."""
    group, out = geometry.group, y_diff.shape[2:]
    padded = _padded(x, geometry, out)
    diff = _grouped(y_diff, group, out)
    for offset, window in _windows(geometry, out):
        pixels = _grouped(padded[(..., *window)], group, out)
        product = (diff @ pixels.swapaxes(2, 3)).sum(axis=0)
        w_diff[(slice(None), slice(None), *offset)] += product.reshape(w_diff.shape[:2])
