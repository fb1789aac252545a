"""Convolution in which every output channel reads one input channel (group == input channels).

Such layers do too little arithmetic for a matrix product; they are sums of shifted rows. A padded
row is split into its phases, the pixels 0, s, 2s, ... and 1, s + 1, ... for stride s: then every
offset of the kernel reads consecutive numbers. Transposed, this is the bilinear `Deconvolution`
by which networks sample up.

Arrays are C-contiguous float32: x (N, C, H, W), w (K, 1, kh, kw), y (N, K, Ho, Wo) with K a
multiple of C; `steps` is (stride h, stride w, pad h, pad w, dilation h, dilation w).
"""

from __future__ import annotations

import numpy as np
from numba import get_num_threads, get_thread_id, prange

from caffe_spn.cpu.channel_sums import row_sum
from caffe_spn.cpu.jit import float_view, jit
from caffe_spn.cpu.scratch import scratch, zeros


@jit()
def split_row(row, stride, pad, phases):
    """phases[(q + pad) % stride, (q + pad) // stride] = row[q], and zeros elsewhere."""
    phases[:] = 0
    if stride == 1:
        target = phases[0, pad : pad + row.size]
        for q in range(row.size):
            target[q] = row[q]
    elif stride == 2:
        # Both phases in one loop: the compiler then takes vectors apart with shuffles.
        start, first, pairs = _pairs(row.size, pad)
        if start:
            phases[1, first - 1] = row[0]
        even, odd, source = phases[0, first:], phases[1, first:], row[start:]
        for q in range(pairs):
            even[q], odd[q] = source[2 * q], source[2 * q + 1]
        if start + 2 * pairs < row.size:
            even[pairs] = source[2 * pairs]
    else:
        for q in range(row.size):
            phases[(q + pad) % stride, (q + pad) // stride] = row[q]


@jit()
def merge_row(phases, stride, pad, row):
    """row[q] = phases[(q + pad) % stride, (q + pad) // stride], the reverse of `split_row`."""
    if stride == 1:
        source = phases[0, pad : pad + row.size]
        for q in range(row.size):
            row[q] = source[q]
    elif stride == 2:
        start, first, pairs = _pairs(row.size, pad)
        if start:
            row[0] = phases[1, first - 1]
        even, odd, target = phases[0, first:], phases[1, first:], row[start:]
        for q in range(pairs):
            target[2 * q], target[2 * q + 1] = even[q], odd[q]
        if start + 2 * pairs < row.size:
            target[2 * pairs] = even[pairs]
    else:
        for q in range(row.size):
            row[q] = phases[(q + pad) % stride, (q + pad) // stride]


@jit(inline="always")
def _pairs(size, pad):
    """For stride 2: where whole pairs start in the row and in the phases, and their number."""
    start = pad % 2
    return start, (pad + 1) // 2, (size - start) // 2


@jit()
def add_scaled(target, factor, source):
    for q in range(target.size):
        target[q] += factor * source[q]


@jit()
def phase_length(width, out_width, kernel_w, steps):
    """Entries of a phase: enough for the padded row, and for every tap of every output."""
    stride, pad, dilation = steps[1], steps[3], steps[5]
    return max((width + pad) // stride + 1, out_width + (kernel_w - 1) * dilation // stride + 1)


@jit(parallel=True)
def _forward(x, w, bias, y, steps, workspace):
    batch, outputs, out_height, out_width = y.shape
    height, width = x.shape[2], x.shape[3]
    kernel_h, kernel_w = w.shape[2], w.shape[3]
    stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w = steps
    repeat = outputs // x.shape[1]
    length = phase_length(width, out_width, kernel_w, steps)
    for plane in prange(batch * outputs):
        n, k = np.int64(plane) // outputs, np.int64(plane) % outputs
        source = float_view(x[n, k // repeat], (height, width))
        target = float_view(y[n, k], (out_height, out_width))
        phases = float_view(workspace[get_thread_id()], (stride_w, length))
        target[:] = bias[k]
        # Each input row is split once, and added to every output row that it touches.
        for h in range(height):
            split_row(source[h], stride_w, pad_w, phases)
            for i in range(kernel_h):
                at = h + pad_h - i * dilation_h
                if at < 0 or at % stride_h or at // stride_h >= out_height:
                    continue
                for j in range(kernel_w):
                    tap = j * dilation_w
                    shifted = phases[tap % stride_w, tap // stride_w :]
                    add_scaled(target[at // stride_h], w[k, 0, i, j], shifted)


@jit(parallel=True)
def _backward_data(y_diff, w, bias, x_diff, steps, workspace):
    batch, channels, height, width = x_diff.shape
    outputs, out_height, out_width = y_diff.shape[1], y_diff.shape[2], y_diff.shape[3]
    kernel_h, kernel_w = w.shape[2], w.shape[3]
    stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w = steps
    repeat = outputs // channels
    length = phase_length(width, out_width, kernel_w, steps)
    for plane in prange(batch * channels):
        n, c = np.int64(plane) // channels, np.int64(plane) % channels
        target = float_view(x_diff[n, c], (height, width))
        phases = float_view(workspace[get_thread_id()], (stride_w, length))
        for h in range(height):
            phases[:] = bias[c]
            for k in range(c * repeat, (c + 1) * repeat):
                source = float_view(y_diff[n, k], (out_height, out_width))
                for i in range(kernel_h):
                    at = h + pad_h - i * dilation_h
                    if at < 0 or at % stride_h or at // stride_h >= out_height:
                        continue
                    for j in range(kernel_w):
                        tap = j * dilation_w
                        start = tap // stride_w
                        shifted = phases[tap % stride_w, start : start + out_width]
                        add_scaled(shifted, w[k, 0, i, j], source[at // stride_h])
            merge_row(phases, stride_w, pad_w, target[h])


@jit(parallel=True)
def _backward_weights(y_diff, x, w_diff, steps, workspace):
    batch, outputs, out_height, out_width = y_diff.shape
    height, width = x.shape[2], x.shape[3]
    kernel_h, kernel_w = w_diff.shape[2], w_diff.shape[3]
    stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w = steps
    repeat = outputs // x.shape[1]
    length = phase_length(width, out_width, kernel_w, steps)
    for output in prange(outputs):
        k = np.int64(output)
        own = workspace[get_thread_id()]
        phases = float_view(own, (stride_w, length))
        # Products are summed column by column, and only at the end along the row: short sums
        # lose little precision, and the inner loop has no chain of additions.
        sums = float_view(own[stride_w * length :], (kernel_h * kernel_w, out_width))
        sums[:] = 0
        for n in range(batch):
            source = float_view(x[n, k // repeat], (height, width))
            diff = float_view(y_diff[n, k], (out_height, out_width))
            for h in range(height):
                split_row(source[h], stride_w, pad_w, phases)
                for i in range(kernel_h):
                    at = h + pad_h - i * dilation_h
                    if at < 0 or at % stride_h or at // stride_h >= out_height:
                        continue
                    line = diff[at // stride_h]
                    for j in range(kernel_w):
                        tap = j * dilation_w
                        shifted = phases[tap % stride_w, tap // stride_w :]
                        total = sums[i * kernel_w + j]
                        for q in range(out_width):
                            total[q] += line[q] * shifted[q]
        for i in range(kernel_h):
            for j in range(kernel_w):
                w_diff[k, 0, i, j] += np.float32(row_sum(sums[i * kernel_w + j]))


def _workspace(x_shape, w_shape, y_shape, steps) -> np.ndarray:
    width, out_width, (kernel_h, kernel_w) = x_shape[3], y_shape[3], w_shape[2:]
    length = phase_length(width, out_width, kernel_w, steps)
    count = steps[1] * length + kernel_h * kernel_w * out_width
    return scratch("rows", get_num_threads(), count)


def forward(x, w, bias, y, geometry) -> None:
    """y = x convolved with w, plus bias (or None)."""
    bias = zeros(y.shape[1]) if bias is None else bias
    workspace = _workspace(x.shape, w.shape, y.shape, geometry.steps)
    _forward(x, w, bias, y, geometry.steps, workspace)


def backward_data(y_diff, w, bias, x_diff, geometry) -> None:
    """x_diff = the transposed convolution of y_diff by w, plus bias (or None)."""
    bias = zeros(x_diff.shape[1]) if bias is None else bias
    workspace = _workspace(x_diff.shape, w.shape, y_diff.shape, geometry.steps)
    _backward_data(y_diff, w, bias, x_diff, geometry.steps, workspace)


def backward_weights(y_diff, x, w_diff, geometry) -> None:
    """Add to w_diff the derivative by the weights."""
    workspace = _workspace(x.shape, w_diff.shape, y_diff.shape, geometry.steps)
    _backward_weights(y_diff, x, w_diff, geometry.steps, workspace)
