"""Launches ``argmax.cu``: the indices of the largest elements along an axis."""

from __future__ import annotations

from caffe_spn.cuda.arguments import check
from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.runtime import THREADS, blocks, runtime
from caffe_spn.errors import ShapeError

SOURCE = "argmax.cu"
# A position with this many classes is worth a block, where there are not many.
MANY_CLASSES = 128
FEW_POSITIONS = 1 << 14


def argmax(
    x: DeviceArray,
    dims: tuple[int, int, int],
    top_k: int,
    indices: DeviceArray | None,
    values: DeviceArray | None,
    steps: tuple[int, int],
) -> None:
    """The `top_k` largest elements of each position, the largest first.

    Of equal elements the one with the higher index comes first. NaN is the largest where `top_k`
    is 1, otherwise the smallest.

    Parameters
    ----------
    x : DeviceArray
    dims : (outer, classes, inner)
    top_k : int
    indices, values : DeviceArray or None
        Receive the indices as float32, and the elements.
    steps : (int, int)
        How far results of neighbouring examples, and of neighbouring ranks, are apart.
    """
    outer, classes, inner = dims
    check("argmax", outer * classes * inner, x=x)
    last = (outer - 1) * steps[0] + (top_k - 1) * steps[1] + inner
    for name, array in (("indices", indices), ("values", values)):
        if array is None:
            continue
        check("argmax", **{name: array})
        if array.size < last:
            raise ShapeError(
                f"argmax: {name} has {array.size} elements; results end at element {last}"
            )
    if not 1 <= top_k <= classes:
        raise ShapeError(f"argmax: {dims} has {classes} elements to choose {top_k} from")
    positions = outer * inner
    if not positions:
        return
    wide = classes >= MANY_CLASSES and positions <= FEW_POSITIONS
    arguments = (x, positions, classes, inner, top_k, indices, values, *steps)
    kernel, grid = ("argmax_wide", positions) if wide else ("argmax", blocks(positions))
    runtime().launch(SOURCE, kernel, grid, THREADS, *arguments)
