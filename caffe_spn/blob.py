"""Blob: an N-dimensional array of data with an equally shaped array of derivatives.

Source: `Blob` of BVLC Caffe, as pycaffe shows them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from caffe_spn.errors import ShapeError
from caffe_spn.gpu_blob import GpuBlob
from caffe_spn.synced_memory import SyncedMemory

MAX_AXES = 32
MAX_COUNT = 2**31 - 1


class Blob(GpuBlob):
    """Data and diff of equal shape; what layers pass on to each other.

    Parameters
    ----------
    shape : sequence of int, optional
        The dimensions, by custom (N, C, H, W); () is a scalar.
    dtype : numpy dtype, default float32
        float64 is for checking gradients.

    Raises
    ------
    ShapeError
        If a dimension is negative, or the count passes what Caffe can index (2**31 - 1).

    Notes
    -----
    `data` and `diff` are writable NumPy views. Each is allocated when first touched, so a
    network that never runs backward pays nothing for its diffs. Making a blob smaller keeps
    its memory; making it larger takes new memory, as in Caffe.

    Under the GPU, `data` and `diff` bring what the device has newer, and the host's is the newest
    from then on: the device is given it when it next reads. A view that was kept is not told when
    the device writes; ask for `data` again.
    """

    __slots__ = (
        "_count",
        "_data",
        "_data_view",
        "_diff",
        "_diff_view",
        "_dtype",
        "_gpu_data_view",
        "_gpu_diff_view",
        "_shape",
    )

    def __init__(self, shape: Sequence[int] = (), dtype=np.float32):
        self._dtype = np.dtype(dtype)
        self._shape: tuple[int, ...] | None = None
        self._count = 0
        self._data = SyncedMemory(0, self._dtype)
        self._diff = SyncedMemory(0, self._dtype)
        self._forget_views()
        self.reshape(*shape)

    def reshape(self, *shape: int) -> None:
        """Give the blob new dimensions; memory is kept where it is large enough.

        Parameters
        ----------
        *shape : int
            The new dimensions, or one sequence of them.
        """
        if len(shape) == 1 and not isinstance(shape[0], (int, np.integer)):
            shape = tuple(shape[0])
        shape = tuple(int(d) for d in shape)
        if shape == self._shape:
            return
        if len(shape) > MAX_AXES:
            raise ShapeError(f"a blob has at most {MAX_AXES} axes, not {len(shape)}")
        if any(d < 0 for d in shape):
            raise ShapeError(f"blob shape {shape} has a negative dimension")
        count = math.prod(shape)
        if count > MAX_COUNT:
            raise ShapeError(
                f"blob shape {shape} has {count} elements; Caffe indexes at most {MAX_COUNT}",
                help="use a smaller batch or image",
            )
        self._shape = shape
        self._count = count
        self._forget_views()
        if count > self._data.capacity:
            self._data = SyncedMemory(count, self._dtype)
        if count > self._diff.capacity:
            self._diff = SyncedMemory(count, self._dtype)

    def reshape_like(self, other: Blob) -> None:
        """Take the shape of another blob."""
        self.reshape(*other.shape)

    def _forget_views(self) -> None:
        self._data_view = self._diff_view = self._gpu_data_view = self._gpu_diff_view = None

    @property
    def data(self) -> np.ndarray:
        """The values, as a writable view of this blob's shape."""
        view = self._data_view
        if view is None or self._data.host_ahead < self._count:
            memory = self._data
            memory.write_on_host(self._count)
            view = self._data_view = memory.host[: self._count].reshape(self._shape)
        return view

    @property
    def diff(self) -> np.ndarray:
        """The derivatives of the loss by `data`, as a writable view."""
        view = self._diff_view
        if view is None or self._diff.host_ahead < self._count:
            memory = self._diff
            memory.write_on_host(self._count)
            view = self._diff_view = memory.host[: self._count].reshape(self._shape)
        return view

    @property
    def cpu_data(self) -> np.ndarray:
        """The values, to read only: what the device has stays as new as this."""
        return self._to_read(self._data)

    @property
    def cpu_diff(self) -> np.ndarray:
        """The derivatives, to read only: what the device has stays as new as this."""
        return self._to_read(self._diff)

    def _to_read(self, memory: SyncedMemory) -> np.ndarray:
        view = memory.host[: self._count].reshape(self._shape)
        view.flags.writeable = False
        return view

    def zero_diff(self) -> None:
        """Set the derivatives to 0, on the side that has them."""
        self._diff.zero(self._count)

    @property
    def dtype(self) -> np.dtype:
        return self._dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def count(self) -> int:
        """How many elements `data` has."""
        return self._count

    @property
    def nbytes(self) -> int:
        """Bytes allocated on the host; shared memory is counted by each sharer."""
        return self._data.nbytes + self._diff.nbytes

    def share_data(self, other: Blob) -> None:
        """Read and write the data of `other` from now on; the counts must agree."""
        self._check_share(other)
        self._data = other._data
        self._data_view = self._gpu_data_view = None

    def share_diff(self, other: Blob) -> None:
        """Read and write the diff of `other` from now on; the counts must agree."""
        self._check_share(other)
        self._diff = other._diff
        self._diff_view = self._gpu_diff_view = None

    def shares_data_with(self, other: Blob) -> bool:
        return self._data is other._data

    @property
    def data_memory(self) -> SyncedMemory:
        """Where `data` lies; blobs that share it have the same."""
        return self._data

    @property
    def diff_memory(self) -> SyncedMemory:
        """Where `diff` lies; blobs that share it have the same."""
        return self._diff

    def _check_share(self, other: Blob) -> None:
        if other._count != self._count or other._dtype != self._dtype:
            raise ShapeError(
                f"a blob of shape {self._shape} ({self._dtype}) cannot share the memory of one of"
                f" shape {other._shape} ({other._dtype}); their counts and types must agree"
            )

    def legacy_shape(self, axis: int) -> int:
        """Dimension `axis` of the blob seen as (num, channels, height, width).

        Raises
        ------
        ShapeError
            If the blob has more than four axes.
        """
        if len(self._shape) > 4:
            raise ShapeError(
                f"num, channels, height and width exist up to 4 axes; this blob is {self._shape}"
            )
        return self._shape[axis] if axis < len(self._shape) else 1

    num = property(lambda self: self.legacy_shape(0), doc="Dimension 0, or 1.")
    channels = property(lambda self: self.legacy_shape(1), doc="Dimension 1, or 1.")
    height = property(lambda self: self.legacy_shape(2), doc="Dimension 2, or 1.")
    width = property(lambda self: self.legacy_shape(3), doc="Dimension 3, or 1.")

    def __repr__(self) -> str:
        return f"Blob{self._shape}"
