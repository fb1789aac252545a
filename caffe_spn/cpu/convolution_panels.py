"""Convolution of float32 maps by matrix products over panels of columns.

A column holds the pixels under the kernel at one position (`im2col`). Spreading all columns at
once would cost kernel height x width times the map's memory; here every thread spreads a panel
that fits its second-level cache, multiplies it by the weights with a single-threaded `sgemm`, and
goes on to the next. All arrays are C-contiguous: x (N, C, H, W), w (K, C / group, kh, kw) and
y (N, K, Ho, Wo); `steps` is (stride h, stride w, pad h, pad w, dilation h, dilation w).
"""

from __future__ import annotations

import numpy as np
from numba import get_num_threads, get_thread_id, prange

from caffe_spn.cpu.blas import sgemm, sgemm_address, single_threaded
from caffe_spn.cpu.convolution_columns import col2im, im2col
from caffe_spn.cpu.convolution_plan import plan_forward, plan_scatter, plan_weights
from caffe_spn.cpu.jit import float_view, jit
from caffe_spn.cpu.scratch import scratch, zeros

FLOAT = 4  # bytes


@jit()
def copy_row(target, source):
    for q in range(target.size):
        target[q] = source[q]


@jit()
def _forward_tile(gemm, task, x, w, bias, y, steps, group, plan, columns, product):
    """One tile for one block of outputs of one group."""
    x = float_view(x, x.shape)
    batch, channels, height, width = x.shape
    outputs, out_height, out_width = y.shape[1], y.shape[2], y.shape[3]
    kernel = (w.shape[2], w.shape[3])
    taps = kernel[0] * kernel[1]
    group_channels, group_outputs = channels // group, outputs // group
    length = group_channels * taps
    area, plane = height * width, out_height * out_width
    plan_rows, plan_images, plan_channels, plan_outputs = plan
    row_blocks = (out_height + plan_rows - 1) // plan_rows
    image_blocks = (batch + plan_images - 1) // plan_images
    output_blocks = (group_outputs + plan_outputs - 1) // plan_outputs
    # With one tap and nothing skipped, the map itself is the matrix of columns.
    pointwise = taps == 1 and steps[0] == steps[1] == 1 and steps[2] == steps[3] == 0

    rest, row_block = divmod(task, row_blocks)
    rest, image_block = divmod(rest, image_blocks)
    g, output_block = divmod(rest, output_blocks)
    r0, n0 = row_block * plan_rows, image_block * plan_images
    r1, n1 = min(out_height, r0 + plan_rows), min(batch, n0 + plan_images)
    k0 = g * group_outputs + output_block * plan_outputs
    k1 = min((g + 1) * group_outputs, k0 + plan_outputs)
    stretch = (r1 - r0) * out_width
    count = (n1 - n0) * stretch
    one_image = n1 - n0 == 1
    start = r0 * out_width
    maps = float_view(y, (batch, outputs, plane))
    if one_image:
        target, target_step = maps.ctypes.data + FLOAT * ((n0 * outputs + k0) * plane), plane
        target += FLOAT * start
    else:
        target, target_step = product.ctypes.data, count
    # sgemm adds to what is there, so the bias is put there first.
    for k in range(k0, k1):
        if one_image:
            maps[n0, k, start : start + stretch] = bias[k]
        else:
            product[(k - k0) * count : (k - k0 + 1) * count] = bias[k]

    for c0 in range(0, group_channels, plan_channels):
        c1 = min(group_channels, c0 + plan_channels)
        depth = (c1 - c0) * taps
        first = g * group_channels + c0
        if pointwise and one_image:
            source = x.ctypes.data + FLOAT * ((n0 * channels + first) * area + r0 * width)
            source_step = area
        else:
            panel = float_view(columns, (depth, count))
            for n in range(n0, n1):
                im2col(
                    x, n, (first, g * group_channels + c1), (r0, r1), kernel, steps,
                    out_width, panel, (n - n0) * stretch,
                )  # fmt: skip
            source, source_step = panel.ctypes.data, count
        weights = w.ctypes.data + FLOAT * (k0 * length + c0 * taps)
        sgemm(
            gemm, False, False, k1 - k0, count, depth,
            weights, length, source, source_step, 1.0, target, target_step,
        )  # fmt: skip
    if not one_image:
        parts = float_view(product, (k1 - k0, n1 - n0, stretch))
        for n in range(n0, n1):
            for k in range(k0, k1):
                copy_row(maps[n, k, start : start + stretch], parts[k - k0, n - n0])


@jit(parallel=True)
def _forward(tasks, gemm, x, w, bias, y, steps, group, plan, columns, products):
    for task in prange(tasks):
        thread = get_thread_id()
        _forward_tile(
            gemm, np.int64(task), x, w, bias, y,
            steps, group, plan, columns[thread], products[thread],
        )  # fmt: skip


@jit()
def _scatter_block(gemm, task, y_diff, w, bias, x_diff, steps, group, plan, columns):
    """The gradient of one block of channels of one image."""
    x_diff = float_view(x_diff, x_diff.shape)
    channels = x_diff.shape[1]
    outputs, out_height, out_width = y_diff.shape[1], y_diff.shape[2], y_diff.shape[3]
    kernel = (w.shape[2], w.shape[3])
    taps = kernel[0] * kernel[1]
    group_channels, group_outputs = channels // group, outputs // group
    length = group_channels * taps
    plane = out_height * out_width
    plan_rows, _, plan_channels, _ = plan
    channel_blocks = (group_channels + plan_channels - 1) // plan_channels
    rest, block = divmod(task, channel_blocks)
    n, g = divmod(rest, group)
    c0 = block * plan_channels
    c1 = min(group_channels, c0 + plan_channels)
    own = (g * group_channels + c0, g * group_channels + c1)
    for c in range(own[0], own[1]):
        x_diff[n, c] = bias[c]
    depth = (c1 - c0) * taps
    weights = w.ctypes.data + FLOAT * (g * group_outputs * length + c0 * taps)
    for r0 in range(0, out_height, plan_rows):
        r1 = min(out_height, r0 + plan_rows)
        count = (r1 - r0) * out_width
        panel = float_view(columns, (depth, count))
        source = (n * outputs + g * group_outputs) * plane + r0 * out_width
        sgemm(
            gemm, True, False, depth, count, group_outputs,
            weights, length, y_diff.ctypes.data + FLOAT * source, plane,
            0.0, panel.ctypes.data, count,
        )  # fmt: skip
        col2im(x_diff, n, own, (r0, r1), kernel, steps, out_width, panel)


@jit(parallel=True)
def _backward_data(tasks, gemm, y_diff, w, bias, x_diff, steps, group, plan, columns):
    # Columns of neighbouring rows overlap in the map: rows are never shared out.
    for task in prange(tasks):
        _scatter_block(
            gemm, np.int64(task), y_diff, w, bias, x_diff,
            steps, group, plan, columns[get_thread_id()],
        )  # fmt: skip


@jit()
def _weights_block(gemm, task, y_diff, x, w_diff, parts, steps, group, plan, columns, gathered):
    """The gradient of one panel's weights, from one share of the tiles."""
    x = float_view(x, x.shape)
    batch, channels, height, width = x.shape
    outputs, out_height, out_width = y_diff.shape[1], y_diff.shape[2], y_diff.shape[3]
    kernel = (w_diff.shape[2], w_diff.shape[3])
    taps = kernel[0] * kernel[1]
    group_channels, group_outputs = channels // group, outputs // group
    length = group_channels * taps
    area, plane = height * width, out_height * out_width
    diffs = float_view(y_diff, (batch, outputs, plane))
    plan_rows, plan_images, plan_channels, splits = plan
    row_blocks = (out_height + plan_rows - 1) // plan_rows
    tiles = row_blocks * ((batch + plan_images - 1) // plan_images)
    channel_blocks = (group_channels + plan_channels - 1) // plan_channels
    pointwise = taps == 1 and steps[0] == steps[1] == 1 and steps[2] == steps[3] == 0

    rest, split = divmod(task, splits)
    g, block = divmod(rest, channel_blocks)
    c0 = block * plan_channels
    c1 = min(group_channels, c0 + plan_channels)
    own = (g * group_channels + c0, g * group_channels + c1)
    depth = (c1 - c0) * taps
    # The first share adds to the gradient itself, the others to arrays of their own.
    target = w_diff.ctypes.data if split == 0 else parts[split - 1].ctypes.data
    target += FLOAT * (g * group_outputs * length + c0 * taps)
    beta = 1.0 if split == 0 else 0.0
    for tile in range(split * tiles // splits, (split + 1) * tiles // splits):
        image_block, row_block = divmod(tile, row_blocks)
        r0, n0 = row_block * plan_rows, image_block * plan_images
        r1, n1 = min(out_height, r0 + plan_rows), min(batch, n0 + plan_images)
        stretch = (r1 - r0) * out_width
        count = (n1 - n0) * stretch
        one_image = n1 - n0 == 1
        if pointwise and one_image:
            source = x.ctypes.data + FLOAT * ((n0 * channels + own[0]) * area + r0 * width)
            source_step = area
        else:
            panel = float_view(columns, (depth, count))
            for n in range(n0, n1):
                im2col(x, n, own, (r0, r1), kernel, steps, out_width, panel, (n - n0) * stretch)
            source, source_step = panel.ctypes.data, count
        if one_image:
            diff = (n0 * outputs + g * group_outputs) * plane + r0 * out_width
            diff, diff_step = y_diff.ctypes.data + FLOAT * diff, plane
        else:
            together = float_view(gathered, (group_outputs, n1 - n0, stretch))
            start = r0 * out_width
            for k in range(group_outputs):
                for n in range(n0, n1):
                    row = diffs[n, g * group_outputs + k, start : start + stretch]
                    copy_row(together[k, n - n0], row)
            diff, diff_step = together.ctypes.data, count
        sgemm(
            gemm, False, True, group_outputs, depth, count,
            diff, diff_step, source, source_step, beta, target, length,
        )  # fmt: skip
        beta = 1.0


@jit(parallel=True)
def _backward_weights(tasks, gemm, y_diff, x, w_diff, parts, steps, group, plan, columns, gathered):
    for task in prange(tasks):
        thread = get_thread_id()
        _weights_block(
            gemm, np.int64(task), y_diff, x,
            w_diff, parts, steps, group, plan, columns[thread], gathered[thread],
        )  # fmt: skip
    for k in prange(w_diff.shape[0]):
        own_diff = w_diff[k].reshape(w_diff[k].size)
        for split in range(parts.shape[0]):
            part = parts[split, k]
            for i in range(part.size):
                own_diff[i] += part[i]


def forward(x, w, bias, y, geometry) -> None:
    """y = x convolved with w, plus bias (or None), for whole batches."""
    threads = get_num_threads()
    plan = plan_forward(x.shape, w.shape, y.shape, geometry.group, threads)
    columns = scratch("columns", threads, plan.column_floats(w.shape))
    products = scratch("products", threads, plan.outputs * plan.positions)
    with single_threaded():
        _forward(
            plan.tasks, sgemm_address(), x, w, _or_zeros(bias, y.shape[1]), y,
            geometry.steps, geometry.group, tuple(plan)[:4], columns, products,
        )  # fmt: skip


def backward_data(y_diff, w, bias, x_diff, geometry) -> None:
    """x_diff = the transposed convolution of y_diff by w, plus bias (or None)."""
    threads = get_num_threads()
    plan = plan_scatter(x_diff.shape, w.shape, y_diff.shape, geometry.group, threads)
    columns = scratch("columns", threads, plan.column_floats(w.shape))
    with single_threaded():
        _backward_data(
            plan.tasks, sgemm_address(), y_diff, w, _or_zeros(bias, x_diff.shape[1]), x_diff,
            geometry.steps, geometry.group, tuple(plan)[:4], columns,
        )  # fmt: skip


def backward_weights(y_diff, x, w_diff, geometry) -> None:
    """Add to w_diff the derivative by the weights."""
    threads = get_num_threads()
    plan = plan_weights(x.shape, w_diff.shape, y_diff.shape, geometry.group, threads)
    columns = scratch("columns", threads, plan.column_floats(w_diff.shape))
    gathered = scratch("products", threads, w_diff.shape[0] // geometry.group * plan.positions)
    parts = scratch("parts", plan.splits - 1, w_diff.shape[0], w_diff[0].size)
    sizes = (plan.rows, plan.images, plan.channels, plan.splits)
    with single_threaded():
        _backward_weights(
            plan.tasks, sgemm_address(), y_diff, x, w_diff, parts,
            geometry.steps, geometry.group, sizes, columns, gathered,
        )  # fmt: skip


def _or_zeros(bias, count: int) -> np.ndarray:
    return zeros(count) if bias is None else bias
