"""Softmax of float32 arrays, in blocks that stay in a thread's cache.

Arrays are C-contiguous: (outer, classes, inner), or (outer, classes) for the functions for rows.
`workspace` has two rows for each thread, as long as a block.
"""

from __future__ import annotations

import numpy as np
from numba import get_thread_id, prange

from caffe_spn.cpu.channel_sums import row_dot, row_sum
from caffe_spn.cpu.exponential import exp_nonpositive
from caffe_spn.cpu.jit import float_view, jit

LANES = 16


@jit()
def keep_larger(row, best):
    # A NaN need not be kept: where one is among the scores, the sum becomes NaN anyway.
    for i in range(best.size):
        best[i] = row[i] if row[i] > best[i] else best[i]


@jit()
def exponentials(x, best, y, total):
    """y = exp(x - best), total += y"""
    for i in range(y.size):
        value = exp_nonpositive(x[i] - best[i])
        y[i] = value
        total[i] += value


@jit()
def divide(y, total):
    for i in range(y.size):
        y[i] /= total[i]


@jit(parallel=True)
def forward(x, y, workspace):
    """Softmax over the classes of each column."""
    outer, classes, inner = x.shape
    length = workspace.shape[2]
    blocks = (inner + length - 1) // length
    for item in prange(outer * blocks):
        n, start = np.int64(item) // blocks, np.int64(item) % blocks * length
        end = min(inner, start + length)
        source = float_view(x[n], (classes, inner))
        target = float_view(y[n], (classes, inner))
        rows = float_view(workspace[get_thread_id()], (2, length))
        best, total = rows[0, : end - start], rows[1, : end - start]
        best[:] = source[0, start:end]
        total[:] = 0
        for c in range(1, classes):
            keep_larger(source[c, start:end], best)
        for c in range(classes):
            exponentials(source[c, start:end], best, target[c, start:end], total)
        for c in range(classes):
            divide(target[c, start:end], total)


@jit()
def add_products(y, diff, total):
    for i in range(total.size):
        total[i] += y[i] * diff[i]


@jit()
def derivative(y, diff, total, out):
    for i in range(out.size):
        out[i] = y[i] * (diff[i] - total[i])


@jit(parallel=True)
def backward(y, y_diff, x_diff, workspace):
    """The derivative of `forward`."""
    outer, classes, inner = y.shape
    length = workspace.shape[2]
    blocks = (inner + length - 1) // length
    for item in prange(outer * blocks):
        n, start = np.int64(item) // blocks, np.int64(item) % blocks * length
        end = min(inner, start + length)
        value = float_view(y[n], (classes, inner))
        diff = float_view(y_diff[n], (classes, inner))
        target = float_view(x_diff[n], (classes, inner))
        total = float_view(workspace[get_thread_id()], (end - start,))
        total[:] = 0
        for c in range(classes):
            add_products(value[c, start:end], diff[c, start:end], total)
        for c in range(classes):
            derivative(value[c, start:end], diff[c, start:end], total, target[c, start:end])


@jit()
def largest(row, lanes):
    """The largest number of a row; `lanes` lets several numbers be compared at once."""
    whole = row.size // LANES * LANES
    best = row[0]
    if whole:
        lanes[:] = row[:LANES]
        for start in range(LANES, whole, LANES):
            keep_larger(row[start : start + LANES], lanes)
        for i in range(LANES):
            best = lanes[i] if lanes[i] > best else best
    for i in range(whole, row.size):
        best = row[i] if row[i] > best else best
    return best


@jit(parallel=True)
def rows_forward(x, y):
    """Softmax of each row."""
    outer, classes = x.shape
    for n in prange(outer):
        source, target = float_view(x[n], (classes,)), float_view(y[n], (classes,))
        best = largest(source, np.empty(LANES, np.float32))
        for i in range(classes):
            target[i] = exp_nonpositive(source[i] - best)
        total = np.float32(row_sum(target))
        for i in range(classes):
            target[i] /= total


@jit(parallel=True)
def rows_backward(y, y_diff, x_diff):
    """The derivative of `rows_forward`."""
    outer, classes = y.shape
    for n in prange(outer):
        value, diff = float_view(y[n], (classes,)), float_view(y_diff[n], (classes,))
        target = float_view(x_diff[n], (classes,))
        total = np.float32(row_dot(value, diff))
        for i in range(classes):
            target[i] = value[i] * (diff[i] - total)
