"""Launches ``im2col.cu``: the pixels under a moving kernel as columns of a matrix, and back."""

from __future__ import annotations

import math
from dataclasses import dataclass

from caffe_spn.cuda.arguments import check
from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.runtime import THREADS, blocks, runtime
from caffe_spn.errors import ShapeError

SOURCE = "im2col.cu"

# Spatial axes that the kernels can have.
MOST_AXES = 4
_NO_AXIS = (1, 1, 1, 0, 1, 1)


@dataclass(frozen=True)
class Window:
    """Where a kernel stands, and on what.

    Attributes
    ----------
    geometry : Geometry
    spatial, out : tuple of int
        The map's axes, and how many positions the kernel has on each.
    first, positions : int
        Which of the positions, counted row by row; by default all.
    """

    geometry: object
    spatial: tuple[int, ...]
    out: tuple[int, ...]
    first: int = 0
    positions: int = 0

    def __post_init__(self):
        if not self.positions:
            object.__setattr__(self, "positions", math.prod(self.out) - self.first)

    @property
    def taps(self) -> int:
        return math.prod(self.geometry.kernel)

    @property
    def numbers(self) -> list[int]:
        """What the kernels' `Axis` holds, for two axes, or for `MOST_AXES` where it is not two."""
        g = self.geometry
        parts = (self.spatial, g.kernel, g.stride, g.pad, g.dilation, self.out)
        axes = list(zip(*parts, strict=True))
        if len(axes) != 2:
            axes = [_NO_AXIS] * (MOST_AXES - len(axes)) + axes
        return [number for axis in axes for number in axis]


def im2col(x: DeviceArray, columns: DeviceArray, window: Window) -> None:
    """columns[c, o, n, q] = x[n, c, pixel of offset o at position q], 0 in the padding.

    Parameters
    ----------
    x : DeviceArray (N, C, ...)
    columns : DeviceArray (C * offsets, N * positions)
        All of it is written.
    window : Window
    """
    _check("im2col", x, columns, window)
    if columns.size:
        # In two axes a thread writes all rows of its channel.
        planar = len(window.spatial) == 2
        grid = blocks(columns.size // (window.taps if planar else 1))
        runtime().launch(
            SOURCE,
            "im2col_2d" if planar else "im2col_4d",
            grid,
            THREADS,
            *(x, columns, *x.shape[:2], *window.numbers, window.first, window.positions),
        )


def col2im(columns: DeviceArray, x: DeviceArray, window: Window, add: bool = False) -> None:
    """The adjoint: x = the sum of the columns' elements at their pixels, or x += it."""
    _check("col2im", x, columns, window)
    if x.size:
        runtime().launch(
            SOURCE,
            "col2im_2d" if len(window.spatial) == 2 else "col2im_4d",
            blocks(x.size),
            THREADS,
            *(columns, x, *x.shape[:2], *window.numbers, window.first, window.positions, add),
        )


def swap_axes(source: DeviceArray, target: DeviceArray) -> None:
    """target[b, a, i] = source[a, b, i]

    Parameters
    ----------
    source : DeviceArray (A, B, I)
    target : DeviceArray (B, A, I)
        Another memory.
    """
    a, b, inner = source.shape
    if target.shape != (b, a, inner):
        raise ShapeError(f"swap_axes: target is {target.shape}; it must be {(b, a, inner)}")
    count = check("swap_axes", source=source, target=target)
    if count:
        runtime().launch(SOURCE, "swap_axes", blocks(count), THREADS, source, target, a, b, inner)


def _check(kernel: str, x: DeviceArray, columns: DeviceArray, window: Window) -> None:
    """Refuse arrays that the kernel would leave."""
    images, channels = x.shape[:2]
    shape = (channels * window.taps, images * window.positions)
    end = window.first + window.positions
    if x.shape[2:] != window.spatial or columns.shape != shape or end > math.prod(window.out):
        raise ShapeError(
            f"{kernel}: x is {x.shape}, columns {columns.shape}; with {window.positions} of"
            f" {math.prod(window.out)} positions from {window.first} on they must be"
            f" {(images, channels, *window.spatial)} and {shape}"
        )
    if len(window.spatial) > MOST_AXES:
        raise ShapeError(f"{kernel}: {len(window.spatial)} spatial axes; {MOST_AXES} is the most")
    for array in (x, columns):
        check(kernel, array=array)
