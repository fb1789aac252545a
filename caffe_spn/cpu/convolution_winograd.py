"""3x3 convolution with stride 1 in 4/9 of the multiplications: Winograd's F(2x2, 3x3).

Overlapping 4x4 tiles d of the input give 2x2 tiles of the output by

    Y = A' [(G g G') * (B' d B)] A          (* is element by element, ' the transpose)

For each of the 16 points of a tile the sum over input channels is a matrix product. The transforms
only add, subtract and halve, so that the rounding error is that of the direct sum.

Arrays are C-contiguous float32: x (N, C, H, W), w (K, C, 3, 3), y (N, K, Ho, Wo). In tile space,
`weight_points` are (16, K, C), `input_points` (16, C, P) and `output_points` (16, K, P) for P
tiles.

Source: "Fast Algorithms for Convolutional Neural Networks", Lavin and Gray, CVPR 2016, section 4.1.
"""

from __future__ import annotations

import math

import numpy as np
from numba import get_num_threads, get_thread_id, prange

from caffe_spn.cpu.blas import sgemm, sgemm_address, single_threaded
from caffe_spn.cpu.jit import float_view, jit
from caffe_spn.cpu.scratch import scratch, zeros

HALF = np.float32(0.5)
POINTS = 16
# Tiles of one round for each thread: enough to multiply by at full speed, and few enough to stay
# in the cache between the transforms.
ROUND_TILES = 128


@jit(parallel=True)
def transform_weights(w, weight_points, flipped):
    """G g G'; `flipped` takes w (C, K, 3, 3) turned by 180 degrees, for the backward pass."""
    outputs, channels = weight_points.shape[1], weight_points.shape[2]
    for k in prange(outputs):
        for c in range(channels):
            g = w[c, k] if flipped else w[k, c]
            for j in range(3):
                # The three weights of column j, from above.
                a, b, d = g[0, j], g[1, j], g[2, j]
                column = j
                if flipped:
                    a, d, column = d, a, 2 - j
                weight_points[column, k, c] = a
                weight_points[4 + column, k, c] = HALF * (a + b + d)
                weight_points[8 + column, k, c] = HALF * (a - b + d)
                weight_points[12 + column, k, c] = d
        for i in range(4):
            p0, p1 = weight_points[4 * i, k], weight_points[4 * i + 1, k]
            p2, p3 = weight_points[4 * i + 2, k], weight_points[4 * i + 3, k]
            for c in range(channels):
                a, b, d = p0[c], p1[c], p2[c]
                p1[c] = HALF * (a + b + d)
                p2[c] = HALF * (a - b + d)
                p3[c] = d


@jit(parallel=True)
def add_weight_diffs(point_diffs, w_diff):
    """w_diff += G' (point_diffs) G, the transposed transform."""
    outputs, channels = point_diffs.shape[1], point_diffs.shape[2]
    for k in prange(outputs):
        d = point_diffs[:, k]
        for i in range(4):
            p0, p1, p2, p3 = d[4 * i], d[4 * i + 1], d[4 * i + 2], d[4 * i + 3]
            for c in range(channels):
                a, b = HALF * (p1[c] + p2[c]), HALF * (p1[c] - p2[c])
                p0[c] += a
                p1[c] = b
                p2[c] = a + p3[c]
        for c in range(channels):
            g = w_diff[k, c]
            for j in range(3):
                a, b = HALF * (d[4 + j, c] + d[8 + j, c]), HALF * (d[4 + j, c] - d[8 + j, c])
                g[0, j] += d[j, c] + a
                g[1, j] += b
                g[2, j] += a + d[12 + j, c]


@jit()
def load_row(plane, h, pad, row):
    """Row h of a plane with `pad` zeros before it and zeros after it, into `row`."""
    height, width = plane.shape
    if h < 0 or h >= height:
        row[:] = 0
        return
    row[:pad] = 0
    row[pad + width :] = 0
    count = min(width, row.size - pad)
    target, source = row[pad : pad + count], plane[h]
    for q in range(count):
        target[q] = source[q]


@jit(parallel=True)
def transform_inputs(x, input_points, lines, across, pads, workspace):
    """B' d B for the tiles of lines [from, to); a line is one row of tiles of one image."""
    channels = x.shape[1]
    down = lines[2]
    padded = 2 * across + 2
    for c in prange(channels):
        rows = float_view(workspace[get_thread_id()], (8, padded))
        for line in range(lines[0], lines[1]):
            n, r = line // down, line % down
            plane = float_view(x[n, c], (x.shape[2], x.shape[3]))
            for i in range(4):
                load_row(plane, 2 * r + i - pads[0], pads[1], rows[i])
            d0, d1, d2, d3 = rows[0], rows[1], rows[2], rows[3]
            t0, t1, t2, t3 = rows[4], rows[5], rows[6], rows[7]
            for q in range(padded):
                a, b, d, e = d0[q], d1[q], d2[q], d3[q]
                t0[q], t1[q], t2[q], t3[q] = a - d, b + d, d - b, b - e
            at = (line - lines[0]) * across
            for i in range(4):
                t = rows[4 + i]
                p0 = input_points[4 * i, c, at : at + across]
                p1 = input_points[4 * i + 1, c, at : at + across]
                p2 = input_points[4 * i + 2, c, at : at + across]
                p3 = input_points[4 * i + 3, c, at : at + across]
                for q in range(across):
                    a, b, d, e = t[2 * q], t[2 * q + 1], t[2 * q + 2], t[2 * q + 3]
                    p0[q], p1[q], p2[q], p3[q] = a - d, b + d, d - b, b - e


@jit(parallel=True)
def transform_outputs(output_points, bias, y, lines, across, workspace):
    """y = A' (output_points) A + bias for the tiles of lines [from, to)."""
    outputs, height, width = y.shape[1], y.shape[2], y.shape[3]
    down = lines[2]
    for k in prange(outputs):
        rows = float_view(workspace[get_thread_id()], (10, 2 * across))
        for line in range(lines[0], lines[1]):
            n, r = line // down, line % down
            at = (line - lines[0]) * across
            for j in range(4):
                p0 = output_points[j, k, at : at + across]
                p1 = output_points[4 + j, k, at : at + across]
                p2 = output_points[8 + j, k, at : at + across]
                p3 = output_points[12 + j, k, at : at + across]
                upper, lower = rows[2 + j], rows[6 + j]
                for q in range(across):
                    upper[q] = p0[q] + p1[q] + p2[q]
                    lower[q] = p1[q] - p2[q] - p3[q]
            for i in range(2):
                t0, t1 = rows[2 + 4 * i], rows[3 + 4 * i]
                t2, t3 = rows[4 + 4 * i], rows[5 + 4 * i]
                out = rows[i]
                for q in range(across):
                    out[2 * q] = t0[q] + t1[q] + t2[q] + bias[k]
                    out[2 * q + 1] = t1[q] - t2[q] - t3[q] + bias[k]
            plane = float_view(y[n, k], (height, width))
            for i in range(min(2, height - 2 * r)):
                target, source = plane[2 * r + i], rows[i]
                for q in range(width):
                    target[q] = source[q]


@jit(parallel=True)
def transform_diffs(y_diff, diff_points, lines, across, workspace):
    """A (y_diff) A', the transposed output transform, for the tiles of lines [from, to)."""
    outputs, height, width = y_diff.shape[1], y_diff.shape[2], y_diff.shape[3]
    down = lines[2]
    padded = 2 * across
    for k in prange(outputs):
        rows = float_view(workspace[get_thread_id()], (6, padded))
        for line in range(lines[0], lines[1]):
            n, r = line // down, line % down
            plane = float_view(y_diff[n, k], (height, width))
            load_row(plane, 2 * r, 0, rows[0])
            load_row(plane, 2 * r + 1, 0, rows[3])
            for q in range(padded):
                rows[1, q] = rows[0, q] + rows[3, q]
                rows[2, q] = rows[0, q] - rows[3, q]
            at = (line - lines[0]) * across
            for i in range(4):
                t = rows[i]
                sign = np.float32(-1) if i == 3 else np.float32(1)
                p0 = diff_points[4 * i, k, at : at + across]
                p1 = diff_points[4 * i + 1, k, at : at + across]
                p2 = diff_points[4 * i + 2, k, at : at + across]
                p3 = diff_points[4 * i + 3, k, at : at + across]
                for q in range(across):
                    a, b = sign * t[2 * q], sign * t[2 * q + 1]
                    p0[q], p1[q], p2[q], p3[q] = a, a + b, a - b, -b


@jit(parallel=True)
def multiply(gemm, transposed, a, b, beta, c):
    """c = a b + beta c for each of the 16 points; `transposed` takes b transposed."""
    m, n, k = c.shape[1], c.shape[2], a.shape[2]
    for point in prange(c.shape[0]):
        sgemm(
            gemm, False, transposed, m, n, k,
            a[point].ctypes.data, a.shape[2], b[point].ctypes.data, b.shape[2],
            beta, c[point].ctypes.data, n,
        )  # fmt: skip


def _rounds(y_shape):
    """Tiles down and across a map, and the lines of each round as (from, to, tiles down)."""
    batch, _, height, width = y_shape
    down, across = math.ceil(height / 2), math.ceil(width / 2)
    lines = batch * down
    most = max(1, round(ROUND_TILES * get_num_threads() / across))
    each = math.ceil(lines / math.ceil(lines / most))
    return across, [(s, min(lines, s + each), down) for s in range(0, lines, each)]


def forward(x, w, bias, y, geometry) -> None:
    """y = x convolved with w (3x3, stride 1, 0 to 2 zeros of padding), plus bias (or None)."""
    _convolve(x, w, bias, y, geometry.pad, False)


def backward_data(y_diff, w, bias, x_diff, geometry) -> None:
    """x_diff = the transposed convolution of y_diff by w, plus bias (or None)."""
    # With stride 1 this is a convolution by the turned weights, padded the other way round.
    _convolve(y_diff, w, bias, x_diff, tuple(2 - p for p in geometry.pad), True)


def _convolve(x, w, bias, y, pads, flipped: bool) -> None:
    """With `flipped`, w is (C, K, 3, 3) and turned by 180 degrees."""
    channels, outputs = x.shape[1], y.shape[1]
    bias = zeros(outputs) if bias is None else bias
    across, rounds = _rounds(y.shape)
    weight_points = scratch("weight points", POINTS, outputs, channels)
    workspace = scratch("rows", get_num_threads(), 20 * (across + 1))
    with single_threaded():
        transform_weights(w, weight_points, flipped)
        for lines in rounds:
            tiles = (lines[1] - lines[0]) * across
            input_points = scratch("input points", POINTS, channels, tiles)
            output_points = scratch("output points", POINTS, outputs, tiles)
            transform_inputs(x, input_points, lines, across, pads, workspace)
            multiply(sgemm_address(), False, weight_points, input_points, 0.0, output_points)
            transform_outputs(output_points, bias, y, lines, across, workspace)


def backward_weights(y_diff, x, w_diff, geometry) -> None:
    """Add to w_diff the derivative by the weights."""
    outputs, channels = w_diff.shape[:2]
    across, rounds = _rounds(y_diff.shape)
    weight_diffs = scratch("weight points", POINTS, outputs, channels)
    workspace = scratch("rows", get_num_threads(), 20 * (across + 1))
    with single_threaded():
        for lines in rounds:
            tiles = (lines[1] - lines[0]) * across
            input_points = scratch("input points", POINTS, channels, tiles)
            diff_points = scratch("output points", POINTS, outputs, tiles)
            transform_inputs(x, input_points, lines, across, geometry.pad, workspace)
            transform_diffs(y_diff, diff_points, lines, across, workspace)
            beta = 0.0 if lines[0] == 0 else 1.0
            multiply(sgemm_address(), True, diff_points, input_points, beta, weight_diffs)
        add_weight_diffs(weight_diffs, w_diff)
