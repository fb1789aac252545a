"""Convolution as products of matrices: im2col, cuBLAS, col2im; for where cuDNN is not.

The columns of all images are more than the output's kernel times; they are made in chunks within
the work space: several images at a time where maps are small, so that the products are large, or
part of one image where it is large.

x is (N, C, ...), w (K, C / group, ...), y (N, K, ...), with up to four spatial axes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from caffe_spn.cuda import im2col
from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.gemm import Matrices, product
from caffe_spn.cuda.im2col import Window
from caffe_spn.cuda.runtime import runtime

# Bytes of columns at a time, unless one position needs more.
MOST_WORKSPACE = 256 * 2**20
# Images are taken together until their columns are so many: products gain little beyond.
ENOUGH_COLUMNS = 2**14


@dataclass(frozen=True)
class Chunk:
    """Some images with all positions, or one image with some."""

    image: int
    images: int
    first: int
    positions: int

    @property
    def width(self) -> int:
        return self.images * self.positions


def chunks(images: int, positions: int, rows: int) -> Iterator[Chunk]:
    """What is computed at a time, in order.

    Parameters
    ----------
    images, positions : int
        Of the whole batch.
    rows : int
        Floats of work space for each position of each image.
    """
    fit = max(1, MOST_WORKSPACE // (4 * rows))
    together = min(fit, ENOUGH_COLUMNS) // positions
    if together > 1:
        for image in range(0, images, together):
            yield Chunk(image, min(together, images - image), 0, positions)
        return
    for image in range(images):
        for first in range(0, positions, fit):
            yield Chunk(image, 1, first, min(fit, positions - first))


class Products:
    """The matrices of one convolution: weights, columns and outputs, for each group.

    Parameters
    ----------
    x, w, y : tuple of int
        The arrays' shapes.
    geometry : Geometry
    """

    def __init__(self, x, w, y, geometry):
        self.geometry, self.group = geometry, geometry.group
        self.channels, self.outputs = x[1], y[1]
        self.spatial, self.out = x[2:], y[2:]
        self.taps, self.positions = math.prod(w[2:]), math.prod(y[2:])
        self.rows = self.channels * self.taps
        # A kernel of one element that moves by one and is not padded makes the map its own columns.
        self.pointwise = self.taps == 1 and self.spatial == self.out and not any(geometry.pad)
        self.pointwise = self.pointwise and set(geometry.stride) <= {1}
        self.chunks = list(chunks(x[0], self.positions, self.rows + self.outputs))

    def weights(self, w: DeviceArray) -> Matrices:
        """(K / group, C / group * offsets) for each group."""
        rows, columns = self.outputs // self.group, self.rows // self.group
        return Matrices(w, rows, columns, step=rows * columns)

    def work_space(self, chunk: Chunk) -> tuple[DeviceArray | None, DeviceArray | None]:
        """Room for the columns of a chunk, and for its outputs where they are several images'."""
        if self.pointwise and chunk.images == 1:
            return None, None
        count = self.rows * chunk.width
        wide = self.outputs * chunk.width if chunk.images > 1 else 0
        scratch = runtime().scratch(4 * (count + wide))
        flat = DeviceArray(scratch.address, (count + wide,), owner=scratch)
        columns = flat.part(0, (self.rows, chunk.width))
        if not wide:
            return columns, None
        return columns, flat.part(count, (self.outputs, chunk.images, chunk.positions))

    def own_columns(self, x: DeviceArray, chunk: Chunk) -> Matrices | None:
        """The map itself as columns, where it is."""
        if not self.pointwise or chunk.images > 1:
            return None
        start = chunk.image * self.channels * self.positions + chunk.first
        rows = self.channels // self.group
        return Matrices(x, rows, chunk.width, start, self.positions, rows * self.positions)

    def columns(self, columns: DeviceArray) -> Matrices:
        rows, width = self.rows // self.group, columns.shape[1]
        return Matrices(columns, rows, width, step=rows * width)

    def result(self, y: DeviceArray, wide: DeviceArray | None, chunk: Chunk) -> Matrices:
        """(K / group, width) for each group: within y for one image, in the work space for more."""
        rows = self.outputs // self.group
        if wide is not None:
            return Matrices(wide, rows, chunk.width, step=rows * chunk.width)
        start = chunk.image * self.outputs * self.positions + chunk.first
        return Matrices(y, rows, chunk.width, start, self.positions, rows * self.positions)

    def window(self, chunk: Chunk) -> Window:
        return Window(self.geometry, self.spatial, self.out, chunk.first, chunk.positions)

    def images_of(self, array: DeviceArray, chunk: Chunk) -> DeviceArray:
        """The chunk's images of x or y."""
        step = math.prod(array.shape[1:])
        return array.part(chunk.image * step, (chunk.images, *array.shape[1:]))

    def planes_of(self, y: DeviceArray, chunk: Chunk) -> DeviceArray:
        """The chunk's images of y as (images, K, positions)."""
        part = self.images_of(y, chunk)
        return part.reshaped(chunk.images, self.outputs, self.positions)


def forward(x: DeviceArray, w: DeviceArray, y: DeviceArray, geometry) -> None:
    """y = x convolved with w."""
    p = Products(x.shape, w.shape, y.shape, geometry)
    for chunk in p.chunks:
        columns, wide = p.work_space(chunk)
        matrices = p.own_columns(x, chunk)
        if matrices is None:
            im2col.im2col(p.images_of(x, chunk), columns, p.window(chunk))
            matrices = p.columns(columns)
        product(p.weights(w), matrices, p.result(y, wide, chunk), count=p.group)
        if chunk.images > 1:
            im2col.swap_axes(wide, p.planes_of(y, chunk))


def backward_data(y_diff: DeviceArray, w: DeviceArray, x_diff: DeviceArray, geometry) -> None:
    """x_diff = the transposed convolution of y_diff with w."""
    p = Products(x_diff.shape, w.shape, y_diff.shape, geometry)
    for chunk in p.chunks:
        columns, wide = p.work_space(chunk)
        if chunk.images > 1:
            im2col.swap_axes(p.planes_of(y_diff, chunk), wide)
        own = p.own_columns(x_diff, chunk)
        matrices = own or p.columns(columns)
        result = p.result(y_diff, wide, chunk)
        product(p.weights(w), result, matrices, transpose_a=True, count=p.group)
        if own is None:
            images = p.images_of(x_diff, chunk)
            im2col.col2im(columns, images, p.window(chunk), add=chunk.first > 0)


def backward_weights(y_diff: DeviceArray, x: DeviceArray, w_diff: DeviceArray, geometry) -> None:
    """Add to w_diff the derivative by the weights."""
    p = Products(x.shape, w_diff.shape, y_diff.shape, geometry)
    for chunk in p.chunks:
        columns, wide = p.work_space(chunk)
        matrices = p.own_columns(x, chunk)
        if matrices is None:
            im2col.im2col(p.images_of(x, chunk), columns, p.window(chunk))
            matrices = p.columns(columns)
        if chunk.images > 1:
            im2col.swap_axes(p.planes_of(y_diff, chunk), wide)
        result = p.result(y_diff, wide, chunk)
        weights = p.weights(w_diff)
        product(result, matrices, weights, transpose_b=True, beta=1.0, count=p.group)
