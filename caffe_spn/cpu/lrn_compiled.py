"""Local response normalisation of float32 maps, in blocks that stay in a thread's cache.

Sums are added up anew for each row of pixels, one neighbour after the other: a running sum would
be cheaper for large neighbourhoods only, and lose digits wherever the activity falls.

Arrays are C-contiguous: (N, C, pixels) across channels, (planes, H, W) within them. `workspace` has
one part for each thread.
"""

from __future__ import annotations

import numpy as np
from numba import get_thread_id, prange

from caffe_spn.cpu.jit import float_view, jit


@jit()
def inverse_power(scale, quarters, beta, out):
    """out = scale ** -beta; `quarters` is 4 beta for a beta that needs roots only, else 0."""
    if quarters == 1:
        for i in range(scale.size):
            out[i] = np.float32(1) / np.sqrt(np.sqrt(scale[i]))
    elif quarters == 2:
        for i in range(scale.size):
            out[i] = np.float32(1) / np.sqrt(scale[i])
    elif quarters == 3:
        for i in range(scale.size):
            root = np.sqrt(scale[i])
            out[i] = np.float32(1) / (root * np.sqrt(root))
    elif quarters == 4:
        for i in range(scale.size):
            out[i] = np.float32(1) / scale[i]
    else:
        for i in range(scale.size):
            out[i] = scale[i] ** -beta


@jit()
def add_squares(row, total):
    for i in range(total.size):
        total[i] += row[i] * row[i]


@jit()
def add(row, total):
    for i in range(total.size):
        total[i] += row[i]


@jit()
def to_scale(total, weight, k):
    """total = k + weight total"""
    for i in range(total.size):
        total[i] = k + weight * total[i]


@jit()
def multiply(x, factor, out):
    for i in range(out.size):
        out[i] = x[i] * factor[i]


@jit()
def begin_derivative(x, diff, power, scale, direct, ratio):
    """direct = diff power, ratio = direct x / scale; `direct` may be `diff`."""
    for i in range(direct.size):
        value = diff[i] * power[i]
        direct[i] = value
        ratio[i] = value * x[i] / scale[i]


@jit()
def end_derivative(x, total, factor, out):
    """out -= factor x total"""
    for i in range(out.size):
        out[i] -= factor * x[i] * total[i]


@jit()
def channel_scale(maps, first, last, step, weight, k, total):
    """The scale of a row of pixels, from those of the channels [first, last)."""
    total[:] = 0
    for c in range(first, last):
        add_squares(maps[c * step : c * step + total.size], total)
    to_scale(total, weight, k)


@jit(parallel=True)
def across_forward(x, y, reach, weight, beta, k, quarters, workspace):
    """Over the channels up to `reach` before and after each."""
    batch, channels, pixels = x.shape
    length = workspace.shape[2]
    blocks = (pixels + length - 1) // length
    for item in prange(batch * blocks):
        n, start = np.int64(item) // blocks, np.int64(item) % blocks * length
        count = min(length, pixels - start)
        source = float_view(x[n], (channels * pixels,))[start:]
        target = float_view(y[n], (channels * pixels,))[start:]
        scale = float_view(workspace[get_thread_id()], (count,))
        for c in range(channels):
            first, last = max(0, c - reach), min(channels, c + reach + 1)
            channel_scale(source, first, last, pixels, weight, k, scale)
            inverse_power(scale, quarters, beta, scale)
            at = c * pixels
            multiply(source[at : at + count], scale, target[at : at + count])


@jit(parallel=True)
def across_backward(x, y_diff, x_diff, reach, weight, beta, k, quarters, workspace):
    """The derivative of `across_forward`."""
    batch, channels, pixels = x.shape
    length = workspace.shape[2]
    blocks = (pixels + length - 1) // length
    factor = np.float32(2) * weight * beta
    for item in prange(batch * blocks):
        n, start = np.int64(item) // blocks, np.int64(item) % blocks * length
        count = min(length, pixels - start)
        source = float_view(x[n], (channels * pixels,))[start:]
        diff = float_view(y_diff[n], (channels * pixels,))[start:]
        target = float_view(x_diff[n], (channels * pixels,))[start:]
        rows = float_view(workspace[get_thread_id()], (channels + 2, length))
        scale, power = rows[channels, :count], rows[channels + 1, :count]
        for c in range(channels):
            first, last = max(0, c - reach), min(channels, c + reach + 1)
            channel_scale(source, first, last, pixels, weight, k, scale)
            inverse_power(scale, quarters, beta, power)
            here = slice(c * pixels, c * pixels + count)
            begin_derivative(source[here], diff[here], power, scale, target[here], rows[c])
        for c in range(channels):
            scale[:] = 0
            for other in range(max(0, c - reach), min(channels, c + reach + 1)):
                add(rows[other], scale)
            here = slice(c * pixels, c * pixels + count)
            end_derivative(source[here], scale, factor, target[here])


@jit()
def add_shifted(padded, reach, total):
    """total[i] = the sum of `padded` from i to i + 2 reach."""
    total[:] = 0
    for shift in range(2 * reach + 1):
        add(padded[shift:], total)


@jit()
def pixel_scale(plane, h, reach, weight, k, padded, total):
    """The scale of row h of a plane; `padded` has `reach` zeros to the left and right."""
    height, width = plane.shape
    sums = padded[reach[1] : reach[1] + width]
    sums[:] = 0
    for row in range(max(0, h - reach[0]), min(height, h + reach[0] + 1)):
        add_squares(plane[row], sums)
    add_shifted(padded, reach[1], total)
    to_scale(total, weight, k)


@jit(parallel=True)
def within_forward(x, y, reach, weight, beta, k, quarters, workspace):
    """Over the pixels up to `reach` (rows, columns) around each."""
    planes, height, width = x.shape
    for p in prange(planes):
        source, target = float_view(x[p], (height, width)), float_view(y[p], (height, width))
        rows = float_view(workspace[get_thread_id()], workspace.shape[1:])
        padded, scale = rows[0], rows[1, :width]
        padded[:] = 0
        for h in range(height):
            pixel_scale(source, h, reach, weight, k, padded, scale)
            inverse_power(scale, quarters, beta, scale)
            multiply(source[h], scale, target[h])


@jit(parallel=True)
def within_backward(x, y_diff, x_diff, reach, weight, beta, k, quarters, workspace):
    """The derivative of `within_forward`."""
    planes, height, width = x.shape
    factor = np.float32(2) * weight * beta
    for p in prange(planes):
        source, target = float_view(x[p], (height, width)), float_view(x_diff[p], (height, width))
        diff = float_view(y_diff[p], (height, width))
        rows = float_view(workspace[get_thread_id()], workspace.shape[1:])
        padded, scale, power = rows[height], rows[height + 1, :width], rows[height + 2, :width]
        padded[:] = 0
        for h in range(height):
            pixel_scale(source, h, reach, weight, k, padded, scale)
            inverse_power(scale, quarters, beta, power)
            begin_derivative(source[h], diff[h], power, scale, target[h], rows[h])
        sums = padded[reach[1] : reach[1] + width]
        for h in range(height):
            sums[:] = 0
            for row in range(max(0, h - reach[0]), min(height, h + reach[0] + 1)):
                add(rows[row], sums)
            add_shifted(padded, reach[1], scale)
            end_derivative(source[h], scale, factor, target[h])
