"""Checks that launchers make before a kernel reads past the end of something."""

from __future__ import annotations

import numpy as np

from caffe_spn.cuda.array import DeviceArray
from caffe_spn.errors import ShapeError


def check(kernel: str, count: int | None = None, dtype=np.float32, **arrays: DeviceArray) -> int:
    """The number of elements that all arrays have.

    Parameters
    ----------
    kernel : str
        For the message.
    count : int, optional
        How many they must have; by default as many as the first.
    dtype : numpy dtype, default float32
        What they must hold.
    **arrays : DeviceArray
        By the names of the kernel's arguments.

    Raises
    ------
    ShapeError
    """
    wanted = np.dtype(dtype)
    for name, array in arrays.items():
        count = array.size if count is None else count
        if array.size != count or array.dtype != wanted:
            raise ShapeError(
                f"{kernel}: {name} is {array.shape} ({array.dtype});"
                f" it must have {count} elements of {wanted}"
            )
    return count
