"""Launches the kernels of ``softmax.cu``: along the middle axis of (outer, classes, inner)."""

from __future__ import annotations

from caffe_spn.cuda.arguments import check
from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.runtime import THREADS, blocks, runtime
from caffe_spn.errors import ShapeError

SOURCE = "softmax.cu"
WARP = 32
# Up to so many classes a thread keeps a position in registers.
IN_REGISTERS = 32


def forward(x: DeviceArray, y: DeviceArray, dims: tuple[int, int, int]) -> None:
    """y = exp(x) / sum of exp(x) over the classes; `y` may be `x`.

    Parameters
    ----------
    x, y : DeviceArray
    dims : (outer, classes, inner)
    """
    _launch("forward", dims, x=x, y=y)


def backward(
    y: DeviceArray, y_diff: DeviceArray, x_diff: DeviceArray, dims: tuple[int, int, int]
) -> None:
    """x_diff = y * (y_diff - sum over the classes of y_diff * y); `x_diff` may be `y_diff`."""
    _launch("backward", dims, y=y, y_diff=y_diff, x_diff=x_diff)


def in_rows(classes: int, inner: int) -> bool:
    """Whether a block works on each row, and not a thread on each position."""
    return inner == 1 and classes > IN_REGISTERS


def row_threads(classes: int) -> int:
    """How many threads a block has that works on a row: each of them takes some classes."""
    return min(THREADS, -(-classes // (4 * WARP)) * WARP)


def _launch(direction: str, dims, **arrays: DeviceArray) -> None:
    outer, classes, inner = dims
    check(f"softmax_{direction}", outer * classes * inner, **arrays)
    if classes < 1:
        raise ShapeError(f"softmax_{direction}: {dims} has no classes")
    if not outer * inner:
        return
    if in_rows(classes, inner):
        block = row_threads(classes)
        kernel, grid, sizes = f"softmax_rows_{direction}", outer, (classes,)
    else:
        kernel, grid, block = f"softmax_{direction}", blocks(outer * inner), THREADS
        sizes = (outer * inner, classes, inner)
    runtime().launch(SOURCE, kernel, grid, block, *arrays.values(), *sizes)
