"""The lists of pycaffe: they index, iterate, compare, append and extend like Python's.

A slice of one is of the same kind.

Source: the vectors that pycaffe exports (BlobVec, RawBlobVec, LayerVec, StringVec, ...).
"""

from __future__ import annotations

import numpy as np


class Vector(list):
    """Base of the vectors."""

    def __getitem__(self, index):
        found = super().__getitem__(index)
        return type(self)(found) if isinstance(index, slice) else found


class BlobVec(Vector):
    """The parameters of a layer; `add_blob` appends one, as Python layers do in `setup`."""

    # float64 in a layer whose gradient is checked.
    dtype = np.dtype(np.float32)

    def add_blob(self, *shape: int) -> None:
        """Append a blob of the given shape, filled with zeros."""
        from caffe_spn.blob import Blob

        self.append(Blob(shape, self.dtype))


class RawBlobVec(Vector):
    """The bottoms or the tops of a layer."""


class LayerVec(Vector):
    """The layers of a net."""


class NetVec(Vector):
    """The test nets of a solver."""


class StringVec(Vector):
    """Names."""


class IntVec(Vector):
    """Indices."""


class BoolVec(Vector):
    """Flags, such as which diffs a layer is asked for."""


class DtypeVec(Vector):
    """Numbers, such as a net's loss weights."""
