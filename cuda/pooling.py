"""Launches the kernels of ``pooling.cu`` and ``stochastic_pooling.cu``.

Maps are device arrays (..., H, W) of float32. A window is (kernel h, kernel w, stride h,
stride w, pad h, pad w); it is the caller who has computed the shape of the pooled maps.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np

from caffe_spn.cuda.arguments import check
from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.draws import check_draws
from caffe_spn.cuda.runtime import MOST_BLOCKS, THREADS, blocks, runtime
from caffe_spn.errors import ShapeError

SOURCE = "pooling.cu"
STOCHASTIC_SOURCE = "stochastic_pooling.cu"
WARP = 32
# What a mask of bytes has where a window chose no pixel; offsets are below.
NO_PIXEL = 255


def mask_dtype(window: Sequence[int]) -> type:
    """What a mask's numbers are, which say where in its window the chosen pixel lies."""
    return np.uint8 if window[0] * window[1] <= NO_PIXEL else np.int32


def max_forward(
    x: DeviceArray,
    y: DeviceArray,
    mask: DeviceArray | None,
    mask_top: DeviceArray | None,
    window: Sequence[int],
) -> None:
    """y = the largest pixel of each window.

    Of equal pixels the first counts. A NaN is larger than any number. A window without pixels
    gives the lowest number and the index -1.

    Parameters
    ----------
    x, y : DeviceArray (..., H, W)
    mask : DeviceArray of `mask_dtype(window)`, shape of y, or None
        What `max_backward` needs.
    mask_top : DeviceArray, shape of y, or None
        Receives the index of the pixel in its plane, as float32.
    window : six ints
    """
    check("max_forward", y=y, mask_top=mask_top)
    masks = _either_mask("max_forward", y, mask, window)
    _forward("max_forward", x, y, window, *masks, mask_top)


def max_backward(
    y_diff: DeviceArray, mask: DeviceArray, x_diff: DeviceArray, window: Sequence[int]
) -> None:
    """x_diff = each output's derivative, at the pixel that `mask` names."""
    masks = _either_mask("max_backward", y_diff, mask, window)
    _launch("max_backward", x_diff, x_diff, y_diff, window, y_diff, *masks, x_diff)


def average_forward(x: DeviceArray, y: DeviceArray, window: Sequence[int]) -> None:
    """y = the sum of each window's pixels, divided by its size with padding."""
    _forward("average_forward", x, y, window)


def average_backward(y_diff: DeviceArray, x_diff: DeviceArray, window: Sequence[int]) -> None:
    """x_diff = the shares that each pixel has in the outputs' derivatives."""
    _launch("average_backward", x_diff, x_diff, y_diff, window, y_diff, x_diff)


def stochastic_train(
    x: DeviceArray, y: DeviceArray, mask: DeviceArray, draws: DeviceArray, window: Sequence[int]
) -> None:
    """y = a pixel of each window, drawn with a probability proportional to its value.

    Parameters
    ----------
    x, y, mask, window
        As for `max_forward`, and so is the gradient; x has no negative values.
    draws : DeviceArray of two uint64
        The seed, and the number of the pass.
    """
    masks = _either_mask("stochastic_train", y, mask, window)
    check_draws("stochastic_train", draws)
    _launch("stochastic_train", y, x, y, window, x, y, *masks, draws, source=STOCHASTIC_SOURCE)


def stochastic_test(x: DeviceArray, y: DeviceArray, window: Sequence[int]) -> None:
    """y = the expectation of `stochastic_train`: sum of squares / sum, or 0 where that is 0."""
    _launch("stochastic_test", y, x, y, window, x, y, source=STOCHASTIC_SOURCE)


def _either_mask(kernel: str, y, mask, window) -> tuple:
    """The mask as the kernels' argument for bytes, and as that for integers."""
    dtype = mask_dtype(window)
    check(kernel, y.size, dtype, mask=mask)
    return (mask, None) if dtype is np.uint8 else (None, mask)


def _forward(kernel: str, x, y, window, *more) -> None:
    # A warp for each window pays where the window has work for its lanes, and windows do not share
    # most of their pixels.
    wide = window[0] * window[1] >= WARP and x.size >= 8 * y.size
    _launch(f"{kernel}_wide" if wide else kernel, y, x, y, window, x, y, *more)


def _launch(kernel: str, output, x, y, window, *arrays, source: str = SOURCE) -> None:
    """Launch with the geometry of maps x and pooled maps y, a thread or warp for each output."""
    check(kernel, x=x)
    check(kernel, y=y)
    grid, block, geometry = _plan(kernel, output is y, x.shape, y.shape, tuple(window))
    if output.size:
        runtime().launch(source, kernel, grid, block, *arrays, *geometry)


@functools.lru_cache(1024)
def _plan(kernel: str, makes_y: bool, x_shape: tuple, y_shape: tuple, window: tuple):
    """Grid, block, and the kernels' `planes` and AXES."""
    if min(len(x_shape), len(y_shape)) < 2 or x_shape[:-2] != y_shape[:-2]:
        raise ShapeError(
            f"{kernel}: maps are (..., H, W), equally many before and after; these are"
            f" {x_shape} and {y_shape}"
        )
    planes = math.prod(x_shape[:-2])
    height, width = (y_shape if makes_y else x_shape)[-2:]
    if kernel.endswith("_wide"):
        grid, block = blocks(planes * height * width * WARP), THREADS
    else:
        grid, block = _places(max(1, height * width), max(1, planes))
    rows, columns = ((x_shape[i], y_shape[i], *window[2 + i :: 2]) for i in (-2, -1))
    return grid, block, (planes, *rows, *columns)


def _places(places: int, planes: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Grid and block: places of a plane along x, and along y planes, several for each thread."""
    width = min(THREADS, -(-places // WARP) * WARP)
    height = THREADS // width
    across = -(-places // width)
    down = min(-(-planes // height), max(1, MOST_BLOCKS // across))
    return (across, down), (width, height)
