"""Products of matrices on the device, stored in rows as NumPy's are; cuBLAS multiplies.

The library's matrices are stored in columns. Read in columns, a matrix stored in rows is its own
transpose, so c' = op(b)' op(a)' is what it is asked for.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.runtime import runtime
from caffe_spn.errors import ShapeError


class Matrices(NamedTuple):
    """Equal matrices within a device array.

    Attributes
    ----------
    array : DeviceArray
        float32.
    rows, columns : int
    start : int, default 0
        The first element, counted from the array's first.
    pitch : int, default `columns`
        Elements from one row to the next.
    step : int, default 0
        Elements from one matrix to the next; 0 is one matrix, used again and again.
    """

    array: DeviceArray
    rows: int
    columns: int
    start: int = 0
    pitch: int | None = None
    step: int = 0

    @property
    def leading(self) -> int:
        return max(1, self.columns if self.pitch is None else self.pitch)

    @property
    def address(self) -> int:
        return self.array.address + 4 * self.start

    def check(self, name: str, count: int) -> None:
        """Refuse matrices that are not wholly within their array."""
        if self.array.dtype != np.float32:
            raise ShapeError(f"matrix {name} is {self.array.dtype}; products are float32")
        if not self.rows or not self.columns:
            return
        end = self.start + (count - 1) * self.step + (self.rows - 1) * self.leading + self.columns
        if self.start < 0 or self.leading < self.columns or end > self.array.size:
            raise ShapeError(
                f"matrix {name} ends at element {end} ({count} of {self.rows} x {self.columns},"
                f" rows {self.leading} and matrices {self.step} apart, from {self.start} on); its"
                f" array {self.array.shape} has {self.array.size}"
            )


def product(
    a: Matrices,
    b: Matrices,
    c: Matrices,
    transpose_a: bool = False,
    transpose_b: bool = False,
    alpha: float = 1.0,
    beta: float = 0.0,
    count: int = 1,
) -> None:
    """c = alpha op(a) op(b) + beta c, for each of `count` triples.

    Raises
    ------
    ShapeError
        If the matrices do not fit together, or leave their arrays.
    DeviceError
        If cuBLAS is missing or fails.
    """
    for name, matrices in zip("abc", (a, b, c), strict=True):
        matrices.check(name, count)
    m, k = (a.columns, a.rows) if transpose_a else (a.rows, a.columns)
    depth, n = (b.columns, b.rows) if transpose_b else (b.rows, b.columns)
    if k != depth or (c.rows, c.columns) != (m, n):
        raise ShapeError(
            f"({m}, {k}) times ({depth}, {n}) is no product of shape ({c.rows}, {c.columns})"
        )
    if not (m and n and count):
        return
    gpu = runtime()
    gpu.launches += 1
    gpu.library("cublas").sgemm(
        *(transpose_b, transpose_a, n, m, k, alpha),
        *(b.address, b.leading, a.address, a.leading, beta, c.address, c.leading),
        steps=(b.step, a.step, c.step),
        count=count,
    )


def gemm(
    transpose_a: bool,
    transpose_b: bool,
    alpha: float,
    a: DeviceArray,
    b: DeviceArray,
    beta: float,
    c: DeviceArray,
) -> None:
    """c = alpha op(a) op(b) + beta c

    Parameters
    ----------
    transpose_a, transpose_b : bool
        Whether `op` transposes the last two axes.
    alpha, beta : float
        With `beta` 0 the former content of c does not matter.
    a, b, c : DeviceArray
        float32, 2-D; axes before the last two count matrices, and a or b without them is used
        for all.

    Raises
    ------
    ShapeError
    DeviceError
    """
    count = math.prod(c.shape[:-2])
    matrices = [_matrices(name, array, count) for name, array in (("a", a), ("b", b), ("c", c))]
    product(*matrices, transpose_a, transpose_b, alpha, beta, count)


def _matrices(name: str, array: DeviceArray, count: int) -> Matrices:
    if len(array.shape) < 2 or math.prod(array.shape[:-2]) not in (1, count):
        raise ShapeError(
            f"{name} is {array.shape}; it must have two axes, or {count} matrices before them"
        )
    rows, columns = array.shape[-2:]
    shared = math.prod(array.shape[:-2]) == 1 and count != 1
    return Matrices(array, rows, columns, step=0 if shared else rows * columns)
