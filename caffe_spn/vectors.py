"""The lists of pycaffe: they index, iterate, compare, append and extend like Python's.

Source: the vectors that pycaffe exports (BlobVec, RawBlobVec, LayerVec, StringVec, ...).
"""

from __future__ import annotations


class BlobVec(list):
    """The parameters of a layer; `add_blob` appends one, as Python layers do in `setup`."""

    def add_blob(self, *shape: int) -> None:
        """Append a blob of the given shape, filled with zeros."""
        from caffe_spn.blob import Blob

        self.append(Blob(shape))


class RawBlobVec(list):
    """The bottoms or the tops of a layer."""


class LayerVec(list):
    """The layers of a net."""


class NetVec(list):
    """The test nets of a solver."""


class StringVec(list):
    """Names."""


class IntVec(list):
    """Indices."""


class BoolVec(list):
    """Flags."""


class DtypeVec(list):
    """Numbers, such as a net's loss weights."""
