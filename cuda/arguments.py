"""What launchers share: checks, before a kernel reads past the end of something, and grids."""

from __future__ import annotations

import numpy as np

from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.runtime import blocks
from caffe_spn.errors import ShapeError

# Elements that a thread of `for_vectors` in vectors.cuh takes at a time.
WIDTH = 4


def vector_blocks(count: int) -> int:
    """Blocks of `THREADS` for a kernel that takes `count` elements with `for_vectors`."""
    return blocks(-(-count // WIDTH))


def check(
    kernel: str, count: int | None = None, dtype=np.float32, **arrays: DeviceArray | None
) -> int:
    """The number of elements that all arrays have.

    Parameters
    ----------
    kernel : str
        For the message.
    count : int, optional
        How many they must have; by default as many as the first.
    dtype : numpy dtype, default float32
        What they must hold.
    **arrays : DeviceArray or None
        By the names of the kernel's arguments; None is passed over.

    Raises
    ------
    ShapeError
    """
    wanted = np.dtype(dtype)
    for name, array in arrays.items():
        if array is None:
            continue
        count = array.size if count is None else count
        if array.size != count or array.dtype != wanted:
            raise ShapeError(
                f"{kernel}: {name} is {array.shape} ({array.dtype});"
                f" it must have {count} elements of {wanted}"
            )
    return count
