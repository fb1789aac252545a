"""An array in a device's memory: an address with a shape and a type.

Source: version 3 of the CUDA array interface (Numba's documentation); DLPack.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from caffe_spn.errors import ShapeError


class DeviceArray:
    """A C-contiguous array in a device's memory.

    Parameters
    ----------
    address : int
    shape : sequence of int
    dtype : numpy dtype, default float32
    owner : object, optional
        Kept alive as long as the array: what frees the memory when it goes.

    Attributes
    ----------
    size : int
        How many elements.
    """

    __slots__ = ("address", "dtype", "owner", "shape", "size")

    def __init__(self, address: int, shape: Sequence[int], dtype=np.float32, owner=None):
        self.address = address
        self.shape = tuple(int(d) for d in shape)
        self.dtype = np.dtype(dtype)
        self.owner = owner
        self.size = math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def reshaped(self, *shape: int) -> DeviceArray:
        """The same elements in another shape.

        Raises
        ------
        ShapeError
            If the counts differ.
        """
        if math.prod(shape) != self.size:
            raise ShapeError(f"a device array of shape {self.shape} cannot become {shape}")
        return DeviceArray(self.address, shape, self.dtype, self.owner)

    def part(self, start: int, shape: Sequence[int]) -> DeviceArray:
        """The array of `shape` that begins `start` elements after this one's first."""
        if not 0 <= start <= start + math.prod(shape) <= self.size:
            raise ShapeError(
                f"elements {start} to {start + math.prod(shape)} are not all in a device array of"
                f" {self.size}"
            )
        return DeviceArray(
            self.address + start * self.dtype.itemsize, shape, self.dtype, self.owner
        )

    # For other libraries; see `caffe_spn.cuda.interop`.

    @property
    def __cuda_array_interface__(self) -> dict:
        from caffe_spn.cuda.interop import cuda_array_interface

        return cuda_array_interface(self)

    def __dlpack_device__(self) -> tuple[int, int]:
        from caffe_spn.cuda.interop import dlpack_device

        return dlpack_device()

    def __dlpack__(self, **options):
        from caffe_spn.cuda.interop import to_dlpack

        return to_dlpack(self, **options)

    def __getitem__(self, index: int) -> DeviceArray:
        """Entry `index` of axis 0."""
        if not 0 <= index < self.shape[0]:
            raise IndexError(f"{index} is out of range for axis 0 of a device array {self.shape}")
        rest = self.shape[1:]
        return self.part(index * math.prod(rest), rest)

    def __repr__(self) -> str:
        return f"DeviceArray{self.shape}"
