"""Launches the kernels of ``reduction.cu``: sums of rows, and their gradients.

Operations are "sum", "asum" (of absolute values) and "sumsq" (of squares).
"""

from __future__ import annotations

from caffe_spn.cuda.arguments import check, vector_blocks
from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.runtime import THREADS, runtime
from caffe_spn.errors import ShapeError

SOURCE = "reduction.cu"
WARP = 32
# So many blocks share a row that there are about BLOCKS in all, but each of their threads has
# AT_ONCE elements.
BLOCKS = 1056
AT_ONCE = 4
DOUBLE = 8


def row_sums(operation: str, x: DeviceArray, sums: DeviceArray, coefficient: float = 1.0) -> None:
    """sums = `coefficient` times the sum of each row's terms.

    Parameters
    ----------
    operation : {"sum", "asum", "sumsq"}
    x : DeviceArray (rows, length)
    sums : DeviceArray, `rows` elements
    coefficient : float, default 1
    """
    rows, length = _rows(f"{operation}_parts", x, sums)
    if not rows:
        return
    threads = min(THREADS, max(1, -(-length // (AT_ONCE * WARP))) * WARP)
    splits = max(1, min(BLOCKS // rows, -(-length // (AT_ONCE * threads))))
    parts = runtime().scratch(DOUBLE * rows * splits)
    kernel = f"{operation}_parts"
    runtime().launch(SOURCE, kernel, rows * splits, threads, x, length, splits, parts)
    threads = min(THREADS, -(-splits // WARP) * WARP)
    runtime().launch(SOURCE, "row_sums", rows, threads, parts, splits, float(coefficient), sums)


def backward(
    operation: str,
    x: DeviceArray,
    sums_diff: DeviceArray,
    x_diff: DeviceArray,
    coefficient: float = 1.0,
) -> None:
    """x_diff = the derivative of `row_sums` by x, times `sums_diff`."""
    kernel = f"{operation}_backward"
    _, length = _rows(kernel, x, sums_diff)
    count = check(kernel, x=x, x_diff=x_diff)
    if count:
        arguments = (x, sums_diff, count, length, float(coefficient), x_diff)
        runtime().launch(SOURCE, kernel, vector_blocks(count), THREADS, *arguments)


def _rows(kernel: str, x: DeviceArray, sums: DeviceArray) -> tuple[int, int]:
    check(kernel, x=x)
    if len(x.shape) != 2:
        raise ShapeError(f"{kernel}: x is {x.shape}; it must be (rows, length)")
    check(kernel, x.shape[0], sums=sums)
    return x.shape
