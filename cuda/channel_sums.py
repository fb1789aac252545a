"""Launches ``channel_sums.cuh``: sums around the channels of arrays (outer, size, inner)."""

from __future__ import annotations

import math

from caffe_spn.cuda.arguments import check
from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.runtime import THREADS, runtime

# From this many on, the elements of a channel are a run: each warp finds its own in one row.
LONG = 32
# Blocks that keep a device busy. The same for all devices, so that sums are the same.
BUSY = 512
# Elements, and rows, that are worth a block.
LEAST_OF_RUN = 16 * THREADS
LEAST_ROWS = 64
# As in channel_sums.cuh.
COLUMNS, ROWS = 32, 8


def channel_sums(
    source: str,
    term: str,
    x: DeviceArray | None,
    top_diff: DeviceArray,
    dims: tuple[int, int, int],
    gradient: DeviceArray,
    accumulate: bool,
) -> None:
    """gradient[c] = the sum of a term over all elements of channel c.

    Parameters
    ----------
    source, term : str
        The .cu file, and the name of its kernels without ``_runs`` and ``_columns``.
    x : DeviceArray, optional
        None where the term does not depend on it.
    top_diff : DeviceArray
    dims : (outer, size, inner)
        The shape of both, with the channels in the middle.
    gradient : DeviceArray
    accumulate : bool
        Add to what `gradient` holds.
    """
    check(term, math.prod(dims), top_diff=top_diff, **({} if x is None else {"x": x}))
    outer, size, inner = dims
    check(term, size, gradient=gradient)
    if size == 0:
        return
    columns = 1 if inner >= LONG else inner
    if inner >= LONG:
        parts, share = _parts(outer * inner, LEAST_OF_RUN, size)
        kernel, grid, block = f"{term}_runs", (size, parts), THREADS
    else:
        wide = -(-size * inner // COLUMNS)
        parts, share = _parts(outer, LEAST_ROWS, wide)
        kernel, grid, block = f"{term}_columns", (wide, parts), (COLUMNS, ROWS)
    gpu = runtime()
    partial = gpu.scratch(4 * parts * size * columns)
    if parts:
        gpu.launch(source, kernel, grid, block, x, top_diff, partial, outer, size, inner, share)
    warps = THREADS // 32
    gpu.launch(
        "channel_sums.cu", "add_up_channel_sums", -(-size // warps), THREADS,
        partial, parts, size, columns, gradient, accumulate,
    )  # fmt: skip


def _parts(length: int, least: int, blocks: int) -> tuple[int, int]:
    """How many parts a length is cut into, and how long each is: a multiple of 4."""
    parts = min(-(-BUSY // blocks), -(-length // least)) if blocks else 0
    share = 4 * -(-length // (4 * parts)) if parts else 0
    return (-(-length // share), share) if share else (0, 0)
