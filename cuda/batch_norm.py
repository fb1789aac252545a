"""Launches the kernels of ``batch_norm.cu``: normalisation by each channel's mean and variance.

Arrays are (batch, channels, positions) in `dims`; their own shape may be any with as many elements.
"""

from __future__ import annotations

from typing import NamedTuple

from caffe_spn.cuda.arguments import check, vector_blocks
from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.runtime import THREADS, blocks, runtime

SOURCE = "batch_norm.cu"
WARP = 32
# So many blocks share a channel that there are about BLOCKS in all, but each of their threads has
# AT_ONCE elements.
BLOCKS = 1056
AT_ONCE = 4
# Bytes of what a block of channel_moments, or of gradient_sums, leaves.
MOMENTS, SUMS = 12, 16

Dims = tuple[int, int, int]


class Running(NamedTuple):
    """Running sums of means, variances and ones, and what is kept of them at each pass."""

    mean: DeviceArray
    variance: DeviceArray
    weight: DeviceArray
    fraction: float


def statistics(
    x: DeviceArray,
    dims: Dims,
    eps: float,
    mean: DeviceArray,
    factor: DeviceArray,
    running: Running | None = None,
    eps_outside: bool = False,
) -> None:
    """mean and factor = those of each channel of x.

    Parameters
    ----------
    x : DeviceArray
    dims : (batch, channels, positions)
    eps : float
    mean, factor : DeviceArray (channels,)
        The factor is 1 / sqrt(variance + eps).
    running : Running, optional
        Brought up to date.
    eps_outside : bool, default False
        The factor is 1 / (sqrt(variance) + eps).
    """
    batch, channels, positions = dims
    count = batch * positions
    check("channel_moments", count * channels, x=x)
    check("channel_statistics", channels, mean=mean, factor=factor)
    if not x.size:
        return
    sums: tuple = (None, None, None, 0.0, 0.0)
    if running is not None:
        check("channel_statistics", channels, mean=running.mean, variance=running.variance)
        check("channel_statistics", 1, weight=running.weight)
        sums = (*running[:3], float(running.fraction), count / (count - 1) if count > 1 else 1.0)
    splits = _splits(dims)
    parts = runtime().scratch(MOMENTS * channels * splits)
    _launch("channel_moments", channels * splits, x, *dims, splits, parts)
    _launch(
        "channel_statistics",
        _warps(channels),
        *(parts, channels, splits, float(eps), eps_outside, mean, factor, *sums),
    )


def running_statistics(
    running: Running, eps: float, mean: DeviceArray, factor: DeviceArray
) -> None:
    """mean and factor = those that the running sums say."""
    arrays = {"running_mean": running.mean, "running_variance": running.variance}
    channels = check("running_statistics", mean=mean, factor=factor, **arrays)
    check("running_statistics", 1, weight=running.weight)
    arguments = (*running[:3], channels, float(eps), mean, factor)
    _launch("running_statistics", blocks(channels), *arguments)


def normalize(
    x: DeviceArray,
    dims: Dims,
    mean: DeviceArray | None,
    factor: DeviceArray | None,
    y: DeviceArray,
    kept: DeviceArray | None = None,
) -> None:
    """y = (x - mean) factor; `y` may be `x`, and `kept` receives a copy of it.

    A mean of None is 0, and a factor of None 1.
    """
    _, channels, positions = dims
    check("normalize", channels, mean=mean, factor=factor)
    count = check("normalize", x=x, y=y, kept=kept)
    if count:
        arguments = (x, count, channels, positions, mean, factor, y, kept)
        _launch("normalize", vector_blocks(count), *arguments)


def backward(
    y_diff: DeviceArray,
    dims: Dims,
    x: DeviceArray | None,
    mean: DeviceArray | None,
    factor: DeviceArray | None,
    scale: DeviceArray | None,
    x_diff: DeviceArray,
) -> None:
    """The derivative of the normalisation by the statistics of its own input.

    x_diff = (y_diff - mean(y_diff) - mean(y_diff y) y) scale, where y is (x - mean) factor.

    Parameters
    ----------
    y_diff : DeviceArray
    dims : (batch, channels, positions)
    x : DeviceArray or None
        None where y does not count: of the subtraction of the mean alone.
    mean, factor : DeviceArray (channels,) or None
        0 and 1 if None.
    scale : DeviceArray (channels,) or None
        1 if None.
    x_diff : DeviceArray
        May be `y_diff`.
    """
    batch, channels, positions = dims
    count = check("gradient_sums", y_diff=y_diff, x_diff=x_diff, x=x)
    check("gradient_sums", channels, mean=mean, factor=factor, scale=scale)
    if not count:
        return
    splits = _splits(dims)
    size = SUMS * channels * splits
    scratch = runtime().scratch(size + 2 * 4 * channels)
    parts = scratch.part(0, (size,))
    means = [scratch.part(size + 4 * channels * i, (4 * channels,)) for i in range(2)]
    sums = (y_diff, x, *dims, mean, factor, splits, parts)
    _launch("gradient_sums", channels * splits, *sums)
    elements = float(batch * positions)
    grid = _warps(channels)
    _launch("gradient_means", grid, parts, channels, splits, elements, *means)
    arguments = (y_diff, x, count, channels, positions, mean, factor, *means, scale, x_diff)
    _launch("normalize_backward", vector_blocks(count), *arguments)


def _splits(dims: Dims) -> int:
    batch, channels, positions = dims
    most = -(-batch * positions // (THREADS * AT_ONCE))
    return max(1, min(BLOCKS // channels, most))


def _warps(count: int) -> int:
    """Blocks for a kernel with a warp for each of so many channels."""
    return -(-count * WARP // THREADS)


def _launch(kernel: str, grid: int, *arguments) -> None:
    runtime().launch(SOURCE, kernel, grid, THREADS, *arguments)
