"""Launches ``scale.cu``: a factor and a summand for each channel."""

from __future__ import annotations

import math

from caffe_spn.cuda.arguments import check, vector_blocks
from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.channel_sums import channel_sums
from caffe_spn.cuda.runtime import THREADS, runtime

SOURCE = "scale.cu"
Dims = tuple[int, int, int]


def scale(
    x: DeviceArray,
    y: DeviceArray,
    dims: Dims,
    factors: DeviceArray | None = None,
    summands: DeviceArray | None = None,
    saved: DeviceArray | None = None,
) -> None:
    """y = x * factors + summands, where they are given; `y` may be `x`.

    Parameters
    ----------
    x, y : DeviceArray
    dims : (outer, size, inner)
        Their shape, with the channels in the middle.
    factors, summands : DeviceArray of `size` elements, optional
    saved : DeviceArray, optional
        Is given a copy of `x`.
    """
    arrays = {"saved": saved} if saved is not None else {}
    count = check("scale", math.prod(dims), x=x, y=y, **arrays)
    operands = {"factors": factors, "summands": summands}
    check("scale", dims[1], **{k: v for k, v in operands.items() if v is not None})
    if count:
        runtime().launch(
            SOURCE, "scale", vector_blocks(count), THREADS,
            x, factors, summands, y, saved, count, *dims[1:],
        )  # fmt: skip


def factor_gradient(
    x: DeviceArray, top_diff: DeviceArray, dims: Dims, gradient: DeviceArray, accumulate: bool
) -> None:
    """gradient = the sums of x * top_diff around each channel, after what was there."""
    channel_sums(SOURCE, "factor_gradient", x, top_diff, dims, gradient, accumulate)


def summand_gradient(
    top_diff: DeviceArray, dims: Dims, gradient: DeviceArray, accumulate: bool
) -> None:
    """gradient = the sums of top_diff around each channel, after what was there."""
    channel_sums(SOURCE, "summand_gradient", None, top_diff, dims, gradient, accumulate)
