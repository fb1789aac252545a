"""Pooling: the largest, the mean, or one random pixel of each window of a map.

Maps are (planes, H, W) arrays. A `Window` says how the window moves; where padding lets it reach
beyond the map, MAX and STOCHASTIC see only pixels, while AVE counts padding as zeros (but not what
lies beyond the padding), as Caffe does.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from caffe_spn import cpu


class Window(NamedTuple):
    """Size, stride and padding of the window, in rows and columns."""

    kernel_h: int
    kernel_w: int
    stride_h: int = 1
    stride_w: int = 1
    pad_h: int = 0
    pad_w: int = 0

    def output_shape(self, height: int, width: int, ceil: bool = True) -> tuple[int, int]:
        """Rows and columns of the pooled map.

        With `ceil`, the last window may hang over the edge. With any padding, a last window that
        would begin beyond the map and its leading padding is left out.
        """
        shape = []
        for size, kernel, stride, pad in zip((height, width), *self._pairs(), strict=True):
            steps = size + 2 * pad - kernel
            count = (math.ceil(steps / stride) if ceil else steps // stride) + 1
            if (self.pad_h or self.pad_w) and (count - 1) * stride >= size + pad:
                count -= 1
            shape.append(count)
        return tuple(shape)

    def counts(self, height: int, width: int, out: tuple[int, int], dtype=np.float32):
        """How many rows, and how many columns, AVE divides by, for each output row and column."""
        counts = []
        for size, kernel, stride, pad, n in zip((height, width), *self._pairs(), out, strict=True):
            start = np.arange(n) * stride - pad
            counts.append((np.minimum(start + kernel, size + pad) - start).astype(dtype))
        return tuple(counts)

    def _pairs(self):
        return self[0:2], self[2:4], self[4:6]

    def covers(self, height: int, width: int) -> bool:
        """Whether one window is the whole map, as in global pooling."""
        return self == Window(height, width, *self[2:4])

    def offsets(self, height: int, width: int, out: tuple[int, int]):
        """For each offset of the window: its outputs, and its pixels, as pairs of slices."""
        for i in range(self.kernel_h):
            rows = self._span(i, self.stride_h, self.pad_h, height, out[0])
            for j in range(self.kernel_w):
                columns = self._span(j, self.stride_w, self.pad_w, width, out[1])
                if rows and columns:
                    yield (rows[0], columns[0]), (rows[1], columns[1])

    @staticmethod
    def _span(offset: int, stride: int, pad: int, size: int, out: int):
        first = max(0, math.ceil((pad - offset) / stride))
        last = min(out, (size - 1 + pad - offset) // stride + 1)
        if first >= last:
            return None
        start = first * stride + offset - pad
        return slice(first, last), slice(start, start + (last - first - 1) * stride + 1, stride)


def max_forward(x, y, mask, window: Window) -> None:
    """y = the largest pixel of each window; mask (int32) = its index in the plane.

    Of equal pixels the first counts. A NaN is larger than any number. A window without pixels
    gives the lowest number and the index -1.
    """
    height, width = x.shape[1:]
    if y.shape[1:] == (1, 1) and window.covers(height, width) and x.size:
        flat = x.reshape(len(x), -1)
        mask[:, 0, 0] = flat.argmax(axis=1)
        y[:, 0, 0] = flat[np.arange(len(x)), mask[:, 0, 0]]
        return
    if cpu.compiled_suits(x, y):
        from caffe_spn.cpu import pooling_compiled

        with cpu.parallel_section():
            pooling_compiled.max_forward(x, y, mask, tuple(window))
        return
    y.fill(np.finfo(y.dtype).min)
    mask.fill(-1)
    indices = np.arange(height * width, dtype=mask.dtype).reshape(1, height, width)
    for (rows, columns), (pixel_rows, pixel_columns) in window.offsets(height, width, y.shape[1:]):
        pixels = x[:, pixel_rows, pixel_columns]
        best, chosen = y[:, rows, columns], mask[:, rows, columns]
        better = (pixels > best) | (pixels != pixels)
        np.copyto(best, pixels, where=better)
        np.copyto(chosen, indices[:, pixel_rows, pixel_columns], where=better)


def max_backward(y_diff, mask, x_diff) -> None:
    """x_diff = each output's derivative, at the pixel that `mask` names."""
    if cpu.compiled_suits(y_diff, x_diff):
        from caffe_spn.cpu import pooling_compiled

        with cpu.parallel_section():
            pooling_compiled.max_backward(y_diff, mask, x_diff)
        return
    x_diff.fill(0)
    planes, _, _ = np.nonzero(mask >= 0)
    valid = mask >= 0
    pixels = x_diff.shape[1] * x_diff.shape[2]  # with -1 there would have to be a plane
    np.add.at(x_diff.reshape(len(x_diff), pixels), (planes, mask[valid]), y_diff[valid])


def average_forward(x, y, window: Window) -> None:
    """y = the sum of each window's pixels, divided by its size with padding.

    A window without pixels gives NaN (0 / 0), as in Caffe.
    """
    if cpu.compiled_suits(x, y):
        _average_compiled("forward", x, y, window)
        return
    height, width = x.shape[1:]
    counts = window.counts(height, width, y.shape[1:], y.dtype)
    y.fill(0)
    for (rows, columns), (pixel_rows, pixel_columns) in window.offsets(height, width, y.shape[1:]):
        y[:, rows, columns] += x[:, pixel_rows, pixel_columns]
    with np.errstate(invalid="ignore"):
        y /= np.outer(*counts)


def average_backward(y_diff, x_diff, window: Window) -> None:
    """x_diff = the shares that each pixel has in the outputs' derivatives."""
    if cpu.compiled_suits(y_diff, x_diff):
        _average_compiled("backward", y_diff, x_diff, window)
        return
    height, width = x_diff.shape[1:]
    counts = window.counts(height, width, y_diff.shape[1:], y_diff.dtype)
    x_diff.fill(0)
    with np.errstate(divide="ignore"):
        share = y_diff / np.outer(*counts)
    for (rows, columns), (pixel_rows, pixel_columns) in window.offsets(
        height, width, y_diff.shape[1:]
    ):
        x_diff[:, pixel_rows, pixel_columns] += share[:, rows, columns]


def _average_compiled(name: str, source, target, window: Window) -> None:
    from caffe_spn.cpu import pooling_compiled
    from caffe_spn.cpu.scratch import scratch

    x, y = (source, target) if name == "forward" else (target, source)
    (height, width), out = x.shape[1:], y.shape[1:]
    with cpu.parallel_section():
        if out == (1, 1) and window.covers(height, width):
            getattr(pooling_compiled, f"global_average_{name}")(source, target)
            return
        counts = window.counts(height, width, out)
        # Room for a row of pixels and the padding around it, as far as the windows reach.
        length = max((out[1] - 1) * window.stride_w + window.kernel_w, window.pad_w + width)
        workspace = scratch("rows", cpu.thread_count(), 2, length)
        getattr(pooling_compiled, f"average_{name}")(
            source, target, *counts, tuple(window), workspace
        )


def stochastic_train(x, y, mask, window: Window, rng: np.random.Generator) -> None:
    """y = one pixel of each window, drawn with a probability proportional to its value.

    The pixels must not be negative. `mask` receives the index of the drawn pixel.
    """
    for r, q, pixels, indices in _windows(x, y, window):
        sums = np.cumsum(pixels, axis=1)
        threshold = rng.random(len(x))[:, None] * sums[:, -1:]
        drawn = np.minimum((sums < threshold).sum(axis=1), pixels.shape[1] - 1)
        y[:, r, q] = pixels[np.arange(len(x)), drawn]
        mask[:, r, q] = indices[drawn]


def stochastic_test(x, y, window: Window) -> None:
    """y = the expectation of `stochastic_train`: sum of squares / sum, or 0 where that is 0."""
    for r, q, pixels, _ in _windows(x, y, window):
        total = pixels.sum(axis=1)
        squares = (pixels * pixels).sum(axis=1)
        y[:, r, q] = np.divide(squares, total, out=np.zeros_like(total), where=total != 0)


def _windows(x, y, window: Window):
    """Each output's place, its window's pixels (planes, pixels) and their indices."""
    height, width = x.shape[1:]
    indices = np.arange(height * width).reshape(height, width)
    for r in range(y.shape[1]):
        rows = slice(r * window.stride_h, r * window.stride_h + window.kernel_h)
        for q in range(y.shape[2]):
            columns = slice(q * window.stride_w, q * window.stride_w + window.kernel_w)
            yield r, q, x[:, rows, columns].reshape(len(x), -1), indices[rows, columns].ravel()
