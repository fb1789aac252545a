"""BlobProto to array and back."""

import numpy as np
import pytest

from caffe_spn.errors import WeightsError
from caffe_spn.proto import caffe_pb2
from caffe_spn.proto.blobs import (
    LegacyArray,
    array_to_blob_proto,
    blob_pieces,
    blob_proto_to_array,
    blob_shape,
    is_legacy,
)

SHAPES = [(), (1,), (2, 3), (2, 3, 5, 4), (0, 3), (1, 1, 1, 1, 2)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_there_and_back(shape, dtype):
    rng = np.random.default_rng(1)
    data, diff = rng.normal(size=shape).astype(dtype), rng.normal(size=shape).astype(dtype)
    blob = caffe_pb2.BlobProto.FromString(array_to_blob_proto(data, diff).SerializeToString())
    for got, want in (
        (blob_proto_to_array(blob), data),
        (blob_proto_to_array(blob, diff=True), diff),
    ):
        assert got.shape == shape
        assert got.dtype == (dtype if want.size else np.float32)
        assert got.flags.writeable
        np.testing.assert_array_equal(got, want)


def test_is_what_protobuf_writes():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    blob = caffe_pb2.BlobProto(data=array.ravel())
    blob.shape.dim.extend([2, 3])
    assert array_to_blob_proto(array) == blob
    assert array_to_blob_proto(array.astype(np.int64)) == blob


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtypes", [("f4", None), ("f4", "f4"), ("f8", "f8"), ("f4", "f8")])
def test_pieces_are_the_bytes_of_the_message(shape, dtypes):
    arrays = [None if d is None else np.arange(np.prod(shape, dtype=int), dtype=d) for d in dtypes]
    arrays = [None if a is None else a.reshape(shape) for a in arrays]
    layer = caffe_pb2.LayerParameter()
    array_to_blob_proto(*arrays, out=layer.blobs.add())
    assert b"".join(blob_pieces(7, *arrays)) == layer.SerializeToString()


def test_pieces_are_no_copies():
    array = np.zeros((3, 4), np.float32)
    pieces = blob_pieces(7, array)
    assert any(np.shares_memory(np.frombuffer(piece, np.uint8), array) for piece in pieces)


@pytest.mark.parametrize("kind, dtype", [(0, "f8"), (1, "f4"), (2, "f2")])
def test_numbers_as_nvcaffe_writes_them(kind, dtype):
    """raw_data_type = 10, raw_data = 12"""
    blob = caffe_pb2.BlobProto()
    blob.shape.dim.append(3)
    raw = np.array([1, 2, 0.5], dtype).tobytes()
    blob.MergeFromString(bytes([0x50, kind, 0x62, len(raw)]) + raw)
    array = blob_proto_to_array(blob)
    assert array.tolist() == [1, 2, 0.5]
    assert array.dtype == dtype


def test_numbers_of_a_type_that_nvcaffe_does_not_write():
    blob = caffe_pb2.BlobProto()
    blob.MergeFromString(b"\x50\x07\x62\x04abcd")
    with pytest.raises(WeightsError, match="raw_data of 4 bytes is of NVCaffe's type 7"):
        blob_proto_to_array(blob)


def test_fills_a_given_message_and_takes_any_memory_order():
    net = caffe_pb2.NetParameter()
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    array_to_blob_proto(array, out=net.layer.add().blobs.add())
    np.testing.assert_array_equal(blob_proto_to_array(net.layer[0].blobs[0]), array)


def test_legacy_shape_wins():
    blob = caffe_pb2.BlobProto(num=1, channels=1, height=2, width=3, data=range(6))
    blob.shape.dim.extend([6])
    assert is_legacy(blob)
    assert blob_shape(blob) == (1, 1, 2, 3)
    array = blob_proto_to_array(blob)
    assert isinstance(array, LegacyArray)
    assert array.tolist() == [[[[0, 1, 2], [3, 4, 5]]]]


def test_doubles_win():
    blob = caffe_pb2.BlobProto(data=[1], double_data=[2.5])
    assert blob_proto_to_array(blob).dtype == np.float64
    assert blob_proto_to_array(blob) == 2.5


@pytest.mark.parametrize(
    "dims, numbers, error",
    [
        ([2, 3], 5, r"a blob of shape 2 x 3 \(6\) has 5 numbers"),
        ([], 2, r"a blob of shape \(\) \(1\) has 2 numbers"),
        ([-1, -2], 2, "-1 x -2"),
        ([2**40, 2**40], 1, "has 1 numbers"),
        ([1] * 33, 1, "a blob has 33 axes and 1 numbers; Caffe's have at most 32 axes"),
    ],
)
def test_shape_and_numbers_disagree(dims, numbers, error):
    blob = caffe_pb2.BlobProto(data=range(numbers))
    blob.shape.dim.extend(dims)
    with pytest.raises(WeightsError, match=error):
        blob_proto_to_array(blob)
