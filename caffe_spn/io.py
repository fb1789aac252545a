"""pycaffe's `caffe.io`: arrays and Caffe's messages, images, and what a net wants of its inputs.

Source: `python/caffe/io.py` of BVLC Caffe, whose names, arguments and results these keep.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from caffe_spn.errors import DataError
from caffe_spn.image_input import Transformer, load_image, oversample, resize_image
from caffe_spn.proto import caffe_pb2

__all__ = [
    "Transformer",
    "array_to_blobproto",
    "array_to_datum",
    "arraylist_to_blobprotovector_str",
    "blobproto_to_array",
    "blobprotovector_str_to_arraylist",
    "caffe_pb2",
    "datum_to_array",
    "load_image",
    "oversample",
    "resize_image",
]


def __getattr__(name: str):
    # Scripts reach through pycaffe's module for what it imports itself.
    if name == "skimage":
        import skimage.io

        return skimage
    if name == "resize":
        from skimage.transform import resize

        return resize
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def blobproto_to_array(blob, return_diff: bool = False) -> np.ndarray:
    """The data (or the diff) of a `BlobProto`, in its shape.

    Raises
    ------
    DataError
        If it holds more or fewer values than its shape says.
    """
    if return_diff:
        values = np.array(blob.diff if blob.diff else blob.double_diff)
    else:
        values = np.array(blob.data if blob.data else blob.double_data)
    legacy = ("num", "channels", "height", "width")
    if any(blob.HasField(name) for name in legacy):
        shape = tuple(getattr(blob, name) for name in legacy)
    else:
        shape = tuple(blob.shape.dim)
    if values.size != int(np.prod(shape, dtype=object)) or min(shape, default=0) < 0:
        raise DataError(f"a BlobProto of shape {shape} holds {values.size} values")
    return values.reshape(shape)


def array_to_blobproto(arr: np.ndarray, diff: np.ndarray | None = None):
    """A `BlobProto` with the values of an array of any shape, and with a diff where given."""
    blob = caffe_pb2.BlobProto()
    blob.shape.dim.extend(arr.shape)
    blob.data.extend(arr.astype(float).flat)
    if diff is not None:
        blob.diff.extend(diff.astype(float).flat)
    return blob


def arraylist_to_blobprotovector_str(arraylist: Iterable[np.ndarray]) -> bytes:
    """Arrays as a serialized `BlobProtoVector`."""
    vector = caffe_pb2.BlobProtoVector()
    vector.blobs.extend(array_to_blobproto(array) for array in arraylist)
    return vector.SerializeToString()


def blobprotovector_str_to_arraylist(str: bytes) -> list[np.ndarray]:
    """The arrays in a serialized `BlobProtoVector`."""
    return [blobproto_to_array(blob) for blob in caffe_pb2.BlobProtoVector.FromString(str).blobs]


def array_to_datum(arr: np.ndarray, label: int | None = None):
    """A `Datum` with an array (C, H, W): its bytes where it is uint8, otherwise floats."""
    if arr.ndim != 3:
        raise DataError(f"Incorrect array shape. A datum is (C, H, W); this array is {arr.shape}")
    datum = caffe_pb2.Datum()
    datum.channels, datum.height, datum.width = arr.shape
    if arr.dtype == np.uint8:
        datum.data = arr.tobytes()
    else:
        datum.float_data.extend(arr.astype(float).flat)
    if label is not None:
        datum.label = label
    return datum


def datum_to_array(datum) -> np.ndarray:
    """The array (C, H, W) in a `Datum`; its label is ``datum.label``.

    Raises
    ------
    DataError
        If the datum holds an encoded image, or not as many values as its shape says.
    """
    if datum.encoded:
        raise DataError(
            "the datum holds the bytes of an image file, not pixels",
            help="caffe_spn.data.transformer.datum_image decodes it",
        )
    shape = (datum.channels, datum.height, datum.width)
    if datum.data:
        values = np.frombuffer(datum.data, np.uint8).copy()
    else:
        values = np.array(datum.float_data).astype(float)
    if values.size != int(np.prod(shape, dtype=object)):
        raise DataError(f"a datum of channels, height, width {shape} holds {values.size} values")
    return values.reshape(shape)
