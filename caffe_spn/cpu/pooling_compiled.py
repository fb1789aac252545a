"""Pooling of float32 maps, one plane for each turn of a parallel loop.

Instead of visiting window after window, a row of outputs is updated by one offset of the window
after another: each update reads along a row, which the compiler turns into vector instructions.

Arrays are C-contiguous: x (planes, H, W), y and mask (planes, Ho, Wo); `window` is (kernel h,
kernel w, stride h, stride w, pad h, pad w).
"""

from __future__ import annotations

import numpy as np
from numba import get_thread_id, prange

from caffe_spn.cpu.channel_sums import row_sum
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


@jit()
def add(row, total):
    for i in range(total.size):
        total[i] += row[i]


@jit()
def gather(sums, kernel, stride, total):
    """total[q] = the sum of `sums` from stride * q on, as long as the kernel."""
    total[:] = 0
    for j in range(kernel):
        row = sums[j:]
        if stride == 1:
            add(row, total)
        elif stride == 2:
            for q in range(total.size):
                total[q] += row[2 * q]
        else:
            for q in range(total.size):
                total[q] += row[stride * q]


@jit()
def scatter(share, kernel, stride, sums):
    """The transpose of `gather`: each share goes to all columns of its window."""
    sums[:] = 0
    for j in range(kernel):
        row = sums[j:]
        if stride == 1:
            for q in range(share.size):
                row[q] += share[q]
        elif stride == 2:
            for q in range(share.size):
                row[2 * q] += share[q]
        else:
            for q in range(share.size):
                row[stride * q] += share[q]


@jit(parallel=True)
def average_forward(x, y, row_counts, column_counts, window, workspace):
    """The mean of each window; the counts say how many rows and columns it has.

    The rows of a window are added up first, in a row of `workspace` that has room for the padding.
    It has two rows for each thread.
    """
    height, width = x.shape[1], x.shape[2]
    out_height, out_width = y.shape[1], y.shape[2]
    kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w = window
    for plane in prange(x.shape[0]):
        pixels = float_view(x[plane], (height, width))
        means = float_view(y[plane], (out_height, out_width))
        padded = float_view(workspace[get_thread_id()], workspace.shape[1:])[0]
        padded[:] = 0
        sums = padded[pad_w : pad_w + width]
        for r in range(out_height):
            start = r * stride_h - pad_h
            sums[:] = 0
            for h in range(max(0, start), min(height, start + kernel_h)):
                add(pixels[h], sums)
            mean = means[r]
            gather(padded, kernel_w, stride_w, mean)
            for q in range(out_width):
                mean[q] /= row_counts[r] * column_counts[q]


@jit(parallel=True)
def average_backward(y_diff, x_diff, row_counts, column_counts, window, workspace):
    """Share each output's derivative among the pixels of its window."""
    height, width = x_diff.shape[1], x_diff.shape[2]
    out_height, out_width = y_diff.shape[1], y_diff.shape[2]
    kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w = window
    for plane in prange(x_diff.shape[0]):
        pixels = float_view(x_diff[plane], (height, width))
        diffs = float_view(y_diff[plane], (out_height, out_width))
        rows = float_view(workspace[get_thread_id()], workspace.shape[1:])
        pixels[:] = 0
        share, padded = rows[0, :out_width], rows[1]
        for r in range(out_height):
            for q in range(out_width):
                share[q] = diffs[r, q] / (row_counts[r] * column_counts[q])
            scatter(share, kernel_w, stride_w, padded)
            start = r * stride_h - pad_h
            for h in range(max(0, start), min(height, start + kernel_h)):
                add(padded[pad_w:], pixels[h])


@jit(parallel=True)
def global_average_forward(x, y):
    """The mean of each plane."""
    count = x.shape[1] * x.shape[2]
    for plane in prange(x.shape[0]):
        y[plane, 0, 0] = np.float32(row_sum(float_view(x[plane], (count,))) / count)


@jit(parallel=True)
def global_average_backward(y_diff, x_diff):
    """Share each plane's derivative among all of its pixels."""
    count = x_diff.shape[1] * x_diff.shape[2]
    for plane in prange(x_diff.shape[0]):
        share = y_diff[plane, 0, 0] / np.float32(count)
        pixels = float_view(x_diff[plane], (count,))
        for i in range(count):
            pixels[i] = share
