"""Launches ``rows.cu``: rows of a matrix taken by number, and gradients added to such rows.

The numbers come from the host, where they were checked: a kernel cannot raise an error.
"""

from __future__ import annotations

import numpy as np

from caffe_spn.cuda.arguments import check
from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.runtime import THREADS, blocks, runtime

SOURCE = "rows.cu"


def take_rows(rows: DeviceArray, indices: DeviceArray, target: DeviceArray) -> None:
    """target[i] = rows[indices[i]]

    Parameters
    ----------
    rows : DeviceArray (R, width)
    indices : DeviceArray (M,)
        int32, each at least 0 and less than R.
    target : DeviceArray (M, width)
    """
    width = rows.shape[1]
    check("take_rows", rows=rows)
    check("take_rows", indices.size, np.int32, indices=indices)
    count = check("take_rows", indices.size * width, target=target)
    if count:
        arguments = (rows, indices, target, count, width)
        runtime().launch(SOURCE, "take_rows", blocks(count), THREADS, *arguments)


def groups(indices: np.ndarray) -> tuple[np.ndarray, int]:
    """What `add_rows` needs of the indices, as one int32 array, and how many of them differ.

    Rows of one index follow each other in the order in which they stand, so that sums do not
    depend on chance.
    """
    order = np.argsort(indices, kind="stable")
    ordered = indices[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    parts = (order, starts, [indices.size], ordered[starts])
    return np.concatenate(parts).astype(np.int32), starts.size


def add_rows(rows: DeviceArray, plan: DeviceArray, differing: int, target: DeviceArray) -> None:
    """target[indices[i]] += rows[i], for the indices that `groups` made `plan` of.

    Parameters
    ----------
    rows : DeviceArray (M, width)
    plan : DeviceArray of int32
    differing : int
        As `groups` returns it.
    target : DeviceArray (R, width)
    """
    count, width = rows.shape
    check("add_rows", count + 2 * differing + 1, np.int32, plan=plan)
    for array in (rows, target):
        check("add_rows", array=array)
    if not count * width:
        return
    order = plan.part(0, (count,))
    starts = plan.part(count, (differing + 1,))
    numbers = plan.part(count + differing + 1, (differing,))
    grid = blocks(differing * width)
    arguments = (rows, order, starts, numbers, target, differing, width)
    runtime().launch(SOURCE, "add_rows", grid, THREADS, *arguments)
