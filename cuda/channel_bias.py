"""Launches ``channel_bias.cu``: biases added to channels, and their gradients."""

from __future__ import annotations

import math

from caffe_spn.cuda.arguments import check
from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.runtime import THREADS, blocks, runtime
from caffe_spn.errors import ShapeError

SOURCE = "channel_bias.cu"

# From this many pixels on a plane is worth a block of its own.
MANY_PIXELS = 64
# Pixels that a block adds up at a time, and the blocks that a device has enough work with.
PIECE = 4096
ENOUGH_BLOCKS = 1024
# The block of sum_rows.
WIDE, HIGH = 32, 8
_MOST_GRID_Y = 65535


def add_bias(y: DeviceArray, bias: DeviceArray) -> None:
    """y[n, k, ...] += bias[k]

    Parameters
    ----------
    y : DeviceArray (N, K, ...)
    bias : DeviceArray (K,)
    """
    images, channels, pixels = _sizes("add_bias", y, bias)
    if not y.size:
        return
    if pixels < MANY_PIXELS:
        arguments = (y, bias, y.size, channels, pixels)
        runtime().launch(SOURCE, "add_to_elements", blocks(y.size), THREADS, *arguments)
        return
    planes = images * channels
    grid = (-(-pixels // (4 * THREADS)), min(planes, _MOST_GRID_Y))
    arguments = (y, bias, planes, channels, pixels)
    runtime().launch(SOURCE, "add_to_planes", grid, THREADS, *arguments)


def add_channel_sums(y: DeviceArray, sums: DeviceArray) -> None:
    """sums[k] += the sum of y[n, k, ...] over images and positions; the order is fixed.

    Parameters
    ----------
    y : DeviceArray (N, K, ...)
    sums : DeviceArray (K,)
    """
    images, channels, pixels = _sizes("add_channel_sums", y, sums)
    if not y.size:
        return
    gpu = runtime()
    if pixels == 1:
        wide = -(-channels // WIDE)
        slices = max(1, min(-(-ENOUGH_BLOCKS // wide), images // (8 * HIGH)))
        partial = _partial(gpu, slices, channels)
        arguments = (y, partial, sums, images, channels)
        gpu.launch(SOURCE, "sum_rows", (wide, slices), (WIDE, HIGH), *arguments)
    else:
        cuts = -(-pixels // PIECE)
        slices = min(images * cuts, -(-ENOUGH_BLOCKS // channels))
        partial = _partial(gpu, slices, channels)
        threads = min(THREADS, -(-pixels // 32) * 32)
        arguments = (y, partial, sums, images, channels, pixels, cuts, PIECE)
        gpu.launch(SOURCE, "sum_planes", (channels, slices), threads, *arguments)
    if slices > 1:
        arguments = (partial, sums, slices, channels)
        gpu.launch(SOURCE, "add_slices", blocks(channels), THREADS, *arguments)


def _partial(gpu, slices: int, channels: int) -> DeviceArray | None:
    return gpu.scratch(4 * slices * channels) if slices > 1 else None


def _sizes(kernel: str, y: DeviceArray, per_channel: DeviceArray) -> tuple[int, int, int]:
    images, channels, pixels = y.shape[0], y.shape[1], math.prod(y.shape[2:])
    if per_channel.shape != (channels,):
        raise ShapeError(
            f"{kernel}: {per_channel.shape} numbers for y {y.shape}; it has {channels} channels"
        )
    check(kernel, y=y)
    check(kernel, per_channel=per_channel)
    return images, channels, pixels
