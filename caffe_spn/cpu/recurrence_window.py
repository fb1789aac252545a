"""The blocks of a plane that a scan visits: where they are, and fetching them ahead of time.

A block is 64 scan steps: 64 rows in a vertical scan, 64 columns in a horizontal one.
"""

from collections import namedtuple

from caffe_spn.cpu.jit import jit, prefetch
from caffe_spn.cpu.recurrence_rules import BLOCK

FLOAT_BYTES = 4
CACHE_LINE = 64

# `height` rows of `width` elements, from (top, left) of a plane.
Window = namedtuple("Window", ["top", "left", "height", "width"])


@jit()
def block_count(shape, direction):
    """How many blocks a scan of a plane has."""
    steps = shape[0] if direction >= 2 else shape[1]
    return (steps + BLOCK - 1) // BLOCK


@jit()
def block_window(shape, direction, turn):
    """The block that a scan visits as number `turn`."""
    height, width = shape
    blocks = block_count(shape, direction)
    block = blocks - 1 - turn if direction % 2 == 1 else turn
    start = block * BLOCK
    if direction >= 2:
        return Window(start, 0, min(BLOCK, height - start), width)
    return Window(0, start, height, min(BLOCK, width - start))


@jit(inline="always")
def corner(plane, window):
    """The address at which a window of a plane begins."""
    return plane.ctypes.data + (window.top * plane.shape[1] + window.left) * FLOAT_BYTES


@jit(inline="always")
def fetch(start, row_bytes, first, last, width_bytes):
    """Fetch rows `first` to `last` below an address, while something else computes.

    Processors fetch ahead by themselves only along rising addresses, but half of the scans run
    backwards, half jump from row to row, and each plane begins somewhere else.
    """
    for k in range(first, last):
        row = start + k * row_bytes
        for address in range(row, row + width_bytes, CACHE_LINE):
            prefetch(address)
