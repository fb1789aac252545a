"""How a convolution is cut into tasks: tiles of the output, and panels of columns for each tile.

A tile is as many output positions as make a matrix product efficient: some rows of one image or,
for small maps, several whole images. A panel is as many input channels of a tile as fit the
second-level cache.
"""

from __future__ import annotations

import math
from typing import NamedTuple

PANEL_BYTES = 1 << 19
FORWARD_POSITIONS = 256
WEIGHT_POSITIONS = 512
# Weights with more elements than this are not summed in several copies: adding the copies up
# would cost as much as the products.
SPLIT_ELEMENTS = 1 << 19


class Plan(NamedTuple):
    """Sizes of a task; `splits` is the number of partial weight gradients."""

    rows: int
    images: int
    channels: int
    outputs: int
    splits: int
    positions: int
    tasks: int

    def column_floats(self, weight_shape) -> int:
        """Elements of the panel that each thread needs."""
        return self.channels * weight_shape[2] * weight_shape[3] * self.positions


def _panel_channels(channels: int, taps: int, positions: int) -> int:
    """Channels of a panel that fits the cache, in panels of about equal size."""
    most = max(1, min(channels, PANEL_BYTES // (4 * positions * taps)))
    return math.ceil(channels / math.ceil(channels / most))


def _tile(batch: int, height: int, width: int, positions: int, shares: int) -> tuple[int, int]:
    """Rows and images of a tile of about `positions`; the tiles divide well into `shares`."""
    if height * width >= positions:
        blocks = max(1, round(height * width / positions))
        if batch * blocks < 4 * shares:
            # Few tiles: a share must not have to wait for another's last one.
            while batch * blocks % shares and blocks < height:
                blocks += 1
        return math.ceil(height / min(blocks, height)), 1
    tiles = math.ceil(batch * height * width / positions)
    tiles = min(batch, math.ceil(tiles / shares) * shares)
    return height, math.ceil(batch / tiles)


def plan_forward(x_shape, weight_shape, y_shape, group: int, threads: int) -> Plan:
    """Tasks are tiles, and blocks of output channels where there are too few tiles."""
    batch, outputs, height, width = y_shape
    shares = math.ceil(threads / group)
    rows, images = _tile(batch, height, width, FORWARD_POSITIONS, shares)
    tiles = math.ceil(height / rows) * math.ceil(batch / images)
    blocks = min(math.ceil(shares / tiles), outputs // group)
    positions = rows * images * width
    channels = _panel_channels(x_shape[1] // group, weight_shape[2] * weight_shape[3], positions)
    block = math.ceil(outputs // group / blocks)
    tasks = group * tiles * math.ceil(outputs // group / block)
    return Plan(rows, images, channels, block, 1, positions, tasks)


def plan_scatter(x_shape, weight_shape, y_shape, group: int, threads: int) -> Plan:
    """Tasks are blocks of input channels of one image."""
    batch, outputs, height, width = y_shape
    rows = max(1, min(height, round(FORWARD_POSITIONS / width)))
    positions = rows * width
    channels = x_shape[1] // group
    panel = _panel_channels(channels, weight_shape[2] * weight_shape[3], positions)
    blocks = math.ceil(channels / panel)
    while batch * group * blocks % threads and batch * group * blocks < 4 * threads:
        if blocks >= channels:
            break
        blocks += 1
    panel = math.ceil(channels / blocks)
    tasks = batch * group * math.ceil(channels / panel)
    return Plan(rows, 1, panel, outputs, 1, positions, tasks)


def plan_weights(x_shape, weight_shape, y_shape, group: int, threads: int) -> Plan:
    """Tasks are panels of input channels; each may be split into shares of the tiles."""
    batch, outputs, height, width = y_shape
    rows, images = _tile(batch, height, width, WEIGHT_POSITIONS, 1)
    positions = rows * images * width
    tiles = math.ceil(height / rows) * math.ceil(batch / images)
    channels = x_shape[1] // group
    panel = _panel_channels(channels, weight_shape[2] * weight_shape[3], positions)
    blocks = math.ceil(channels / panel)
    tasks, splits = group * blocks, 1
    if tasks % threads and tasks < 4 * threads:
        if math.prod(weight_shape) > SPLIT_ELEMENTS and channels >= threads:
            blocks = threads * math.ceil(blocks / threads)
            panel = math.ceil(channels / blocks)
        else:
            splits = min(threads, tiles)
    tasks = group * math.ceil(channels / panel) * splits
    return Plan(rows, images, panel, outputs, splits, positions, tasks)
