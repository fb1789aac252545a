"""BlobProto to NumPy array and back.

>>> import numpy as np
>>> from caffe_spn.proto.blobs import array_to_blob_proto, blob_proto_to_array
>>> blob_proto_to_array(array_to_blob_proto(np.ones((2, 3), np.float32))).shape
(2, 3)
"""

from __future__ import annotations

import math

import numpy as np

from caffe_spn.errors import WeightsError
from caffe_spn.proto import caffe_pb2, wire

_LEGACY = ("num", "channels", "height", "width")
_MAX_AXES = 32


class LegacyArray(np.ndarray):
    """An array from a BlobProto with num, channels, height and width instead of a shape.

    Files of Caffe's first years give every blob four axes: such an array fits a blob of fewer axes
    whose missing first ones are 1.
    """


def is_legacy(blob_proto: caffe_pb2.BlobProto) -> bool:
    """Whether the four numbers give the shape; in Caffe any of them wins over `shape`."""
    return any(blob_proto.HasField(name) for name in _LEGACY)


def blob_shape(blob_proto: caffe_pb2.BlobProto) -> tuple[int, ...]:
    """The shape that a BlobProto states."""
    if is_legacy(blob_proto):
        return tuple(getattr(blob_proto, name) for name in _LEGACY)
    return tuple(blob_proto.shape.dim)


def blob_proto_to_array(blob_proto: caffe_pb2.BlobProto, diff: bool = False) -> np.ndarray:
    """Copy the numbers of a BlobProto into an array.

    Parameters
    ----------
    blob_proto : BlobProto
    diff : bool, default False
        Take `diff` (or `double_diff`) instead of `data` (or `double_data`).

    Returns
    -------
    ndarray
        float32, or float64 if the doubles are given, or what NVCaffe wrote as `raw_data` (float16
        too); a `LegacyArray` when the shape is legacy.

    Raises
    ------
    WeightsError
        If the numbers are not as many as the shape says.
    """
    # The detour over bytes costs a memory copy; reading repeated fields number by number, as
    # protobuf before version 5 does it, costs a hundred times that.
    content = blob_proto.SerializeToString()
    try:
        _, (numbers,) = wire.extract(wire.length_delimited(1, content) + content, {1: wire.BLOB})
    except wire.WireError as error:
        raise WeightsError(f"a blob makes no sense: {error}") from None
    return numbers_to_array(blob_proto, numbers, diff).copy()


def numbers_to_array(
    blob_proto: caffe_pb2.BlobProto, numbers: wire.Numbers, diff: bool = False
) -> np.ndarray:
    """Give the numbers that `wire.extract` found the shape that their BlobProto states.

    The result is a read-only view; see `blob_proto_to_array`.
    """
    if diff:
        flat = numbers.diff if numbers.double_diff is None else numbers.double_diff
    else:
        flat = numbers.data if numbers.double_data is None else numbers.double_data
    if flat is None:
        flat = np.empty(0, np.float32)
    if len(blob_proto.shape.dim) > _MAX_AXES:
        raise WeightsError(
            f"a blob has {len(blob_proto.shape.dim)} axes and {flat.size} numbers; Caffe's have at"
            f" most {_MAX_AXES} axes"
        )
    shape = blob_shape(blob_proto)
    if any(d < 0 for d in shape) or math.prod(shape) != flat.size:
        raise WeightsError(f"a blob of shape {_words(shape)} has {flat.size} numbers")
    array = flat.reshape(shape)
    return array.view(LegacyArray) if is_legacy(blob_proto) else array


def blob_pieces(number: int, array: np.ndarray, diff: np.ndarray | None = None) -> list:
    """A BlobProto that is field `number` of a message, as pieces to write one after the other.

    The numbers are no copies: a net is written without being in memory twice. The bytes are those
    of `array_to_blob_proto`.

    Parameters
    ----------
    number : int
    array : ndarray
    diff : ndarray, optional

    Returns
    -------
    list of bytes and memoryview
    """
    shape = caffe_pb2.BlobProto()
    shape.shape.SetInParent()
    shape.shape.dim.extend(array.shape)
    pieces = [(7, shape.SerializeToString())]
    for values, single, double in ((array, 5, 8), (diff, 6, 9)):
        if values is not None and np.size(values):
            is_double = values.dtype == np.float64
            raw = memoryview(np.ascontiguousarray(values, "<f8" if is_double else "<f4")).cast("B")
            field = double if is_double else single
            pieces += [(field, wire.prefix(field, raw.nbytes)), (field, raw)]
    # In the order of their numbers, as the library writes them.
    content = [piece for _, piece in sorted(pieces, key=lambda piece: piece[0])]
    return [wire.prefix(number, sum(len(piece) for piece in content)), *content]


def array_to_blob_proto(
    array: np.ndarray,
    diff: np.ndarray | None = None,
    out: caffe_pb2.BlobProto | None = None,
) -> caffe_pb2.BlobProto:
    """Copy an array, and perhaps its derivatives, into a BlobProto.

    Parameters
    ----------
    array : ndarray
        float64 goes to `double_data`, anything else as float32 to `data`.
    diff : ndarray, optional
        The same for `diff` and `double_diff`.
    out : BlobProto, optional
        An empty message to fill.
    """
    array = np.asarray(array)
    blob_proto = caffe_pb2.BlobProto() if out is None else out
    # An empty list of dim is still a shape: that of a scalar.
    blob_proto.shape.SetInParent()
    blob_proto.shape.dim.extend(array.shape)
    for values, single, double in ((array, 5, 8), (diff, 6, 9)):
        if values is None:
            continue
        is_double = np.asarray(values).dtype == np.float64
        payload = np.ascontiguousarray(values, "<f8" if is_double else "<f4").tobytes()
        if payload:
            number = double if is_double else single
            blob_proto.MergeFromString(wire.length_delimited(number, payload) + payload)
    return blob_proto


def _words(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) + f" ({math.prod(shape)})" if shape else "() (1)"
