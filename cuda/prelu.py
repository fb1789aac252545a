"""Launches ``prelu.cu``: a rectifier with a slope for each channel."""

from __future__ import annotations

import math

from caffe_spn.cuda.arguments import check, vector_blocks
from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.channel_sums import channel_sums
from caffe_spn.cuda.runtime import THREADS, runtime

SOURCE = "prelu.cu"
Dims = tuple[int, int, int]


def forward(
    x: DeviceArray,
    slopes: DeviceArray,
    y: DeviceArray,
    dims: Dims,
    saved: DeviceArray | None = None,
) -> None:
    """y = x where x > 0, slopes * x elsewhere; `y` may be `x`.

    Parameters
    ----------
    x, y : DeviceArray
    slopes : DeviceArray of `size` elements
    dims : (outer, size, inner)
        The shape of `x`, with the channels in the middle.
    saved : DeviceArray, optional
        Is given a copy of `x`.
    """
    arrays = {"saved": saved} if saved is not None else {}
    count = check("prelu_forward", math.prod(dims), x=x, y=y, **arrays)
    check("prelu_forward", dims[1], slopes=slopes)
    if count:
        runtime().launch(
            SOURCE, "prelu_forward", vector_blocks(count), THREADS,
            x, slopes, y, saved, count, *dims[1:],
        )  # fmt: skip


def backward(
    x: DeviceArray,
    top_diff: DeviceArray,
    slopes: DeviceArray,
    bottom_diff: DeviceArray,
    dims: Dims,
) -> None:
    """bottom_diff = top_diff where x > 0, slopes * top_diff elsewhere; may be `top_diff`."""
    kernel = "prelu_backward"
    count = check(kernel, math.prod(dims), x=x, top_diff=top_diff, bottom_diff=bottom_diff)
    check(kernel, dims[1], slopes=slopes)
    if count:
        runtime().launch(
            SOURCE, kernel, vector_blocks(count), THREADS,
            x, top_diff, slopes, bottom_diff, count, *dims[1:],
        )  # fmt: skip


def slope_gradient(
    x: DeviceArray, top_diff: DeviceArray, dims: Dims, gradient: DeviceArray
) -> None:
    """gradient += the sums of min(x, 0) * top_diff around each channel."""
    channel_sums(SOURCE, "slope_gradient", x, top_diff, dims, gradient, accumulate=True)
