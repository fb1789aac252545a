"""Pooling of float32 maps, one plane for each turn of a parallel loop.

Instead of visiting window after window, a row of outputs is updated by one offset of the window
after another: each update reads along a row, which the compiler turns into vector instructions.

Arrays are C-contiguous: x (planes, H, W), y and mask (planes, Ho, Wo); `window` is (kernel h,
kernel w, stride h, stride w, pad h, pad w).
"""

from __future__ import annotations

import numpy as np
from numba import get_thread_id, prange

from caffe_spn.cpu.jit import float_view, jit

LOWEST = np.float32(np.finfo(np.float32).min)


@jit()
def inside(offset, stride, pad, size, out):
    """The outputs [first, last) at which an offset of the window lies within the map."""
    first = min(out, max(0, (pad - offset + stride - 1) // stride))
    last = min(out, (size - 1 + pad - offset) // stride + 1)
    return first, max(first, last)


@jit(inline="always")
def keep_larger(q, value, index, best, mask):
    # A NaN replaces everything and is replaced by nothing: it must not be pooled away.
    better = value > best[q] or value != value
    best[q] = value if better else best[q]
    mask[q] = index if better else mask[q]


@jit(parallel=True)
def max_forward(x, y, mask, window):
    """The largest pixel of each window, and its index in the plane (-1: window without pixels)."""
    height, width = x.shape[1], x.shape[2]
    out_height, out_width = y.shape[1], y.shape[2]
    kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w = window
    for plane in prange(x.shape[0]):
        pixels = float_view(x[plane], (height, width))
        for r in range(out_height):
            best, chosen = y[plane, r], mask[plane, r]
            best[:] = LOWEST
            chosen[:] = -1
            for i in range(kernel_h):
                h = r * stride_h - pad_h + i
                if h < 0 or h >= height:
                    continue
                for j in range(kernel_w):
                    first, last = inside(j, stride_w, pad_w, width, out_width)
                    start = first * stride_w + j - pad_w
                    row = pixels[h, start:]
                    some, where = best[first:last], chosen[first:last]
                    index = np.int32(h * width + start)
                    if stride_w == 1:
                        for q in range(last - first):
                            keep_larger(q, row[q], index + np.int32(q), some, where)
                    elif stride_w == 2:  # a constant step lets the compiler shuffle vectors
                        for q in range(last - first):
                            keep_larger(q, row[2 * q], index + np.int32(2 * q), some, where)
                    else:
                        for q in range(last - first):
                            at = stride_w * q
                            keep_larger(q, row[at], index + np.int32(at), some, where)


@jit(parallel=True)
def max_backward(y_diff, mask, x_diff):
    """Hand each output's derivative to the pixel that was chosen."""
    for plane in prange(x_diff.shape[0]):
        target = float_view(x_diff[plane], (x_diff.shape[1] * x_diff.shape[2],))
        target[:] = 0
        for r in range(y_diff.shape[1]):
            diff, chosen = y_diff[plane, r], mask[plane, r]
            for q in range(diff.size):
                if chosen[q] >= 0:
                    target[chosen[q]] += diff[q]


@jit(parallel=True)
def average_forward(x, y, row_counts, column_counts, window):
    """The mean of each window; the counts say how many rows and columns it has."""
    height, width = x.shape[1], x.shape[2]
    out_height, out_width = y.shape[1], y.shape[2]
    kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w = window
    for plane in prange(x.shape[0]):
        pixels = float_view(x[plane], (height, width))
        for r in range(out_height):
            total = y[plane, r]
            total[:] = 0
            for i in range(kernel_h):
                h = r * stride_h - pad_h + i
                if h < 0 or h >= height:
                    continue
                for j in range(kernel_w):
                    first, last = inside(j, stride_w, pad_w, width, out_width)
                    row = pixels[h, first * stride_w + j - pad_w :]
                    some = total[first:last]
                    if stride_w == 1:
                        for q in range(last - first):
                            some[q] += row[q]
                    elif stride_w == 2:
                        for q in range(last - first):
                            some[q] += row[2 * q]
                    else:
                        for q in range(last - first):
                            some[q] += row[stride_w * q]
            for q in range(out_width):
                total[q] /= row_counts[r] * column_counts[q]


@jit(parallel=True)
def average_backward(y_diff, x_diff, row_counts, column_counts, window, workspace):
    """Share each output's derivative among the pixels of its window."""
    height, width = x_diff.shape[1], x_diff.shape[2]
    out_height, out_width = y_diff.shape[1], y_diff.shape[2]
    kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w = window
    for plane in prange(x_diff.shape[0]):
        pixels = float_view(x_diff[plane], (height, width))
        pixels[:] = 0
        share = float_view(workspace[get_thread_id()], (out_width,))
        for r in range(out_height):
            diff = y_diff[plane, r]
            for q in range(out_width):
                share[q] = diff[q] / (row_counts[r] * column_counts[q])
            for i in range(kernel_h):
                h = r * stride_h - pad_h + i
                if h < 0 or h >= height:
                    continue
                for j in range(kernel_w):
                    first, last = inside(j, stride_w, pad_w, width, out_width)
                    row = pixels[h, first * stride_w + j - pad_w :]
                    some = share[first:last]
                    if stride_w == 1:
                        for q in range(last - first):
                            row[q] += some[q]
                    elif stride_w == 2:
                        for q in range(last - first):
                            row[2 * q] += some[q]
                    else:
                        for q in range(last - first):
                            row[stride_w * q] += some[q]
