"""Binary files: read with errors that say what a file is, written whole or not at all."""

import os

import numpy as np
import pytest

from caffe_spn.errors import WeightsError
from caffe_spn.proto import binary, caffe_pb2, files, wire
from caffe_spn.proto.blobs import array_to_blob_proto


def solver_state():
    state = caffe_pb2.SolverState(iter=5, learned_net="n.caffemodel")
    for size in (3, 4):
        array_to_blob_proto(np.arange(size, dtype=np.float32), out=state.history.add())
    return state


@pytest.mark.parametrize(
    "message",
    [
        solver_state(),
        caffe_pb2.NetParameter(name="n", input=["a", "b"], state=caffe_pb2.NetState(level=1)),
        caffe_pb2.NetParameter(input=["a"], layer=[caffe_pb2.LayerParameter(name="l")]),
        caffe_pb2.NetParameter(),
        array_to_blob_proto(np.ones((2, 3), np.float32)),
        caffe_pb2.Datum(data=b"\xff\x00", label=3),
    ],
    ids=lambda message: type(message).__name__,
)
def test_there_and_back(message, tmp_path):
    path = tmp_path / "file.binaryproto"
    binary.write(path, message)
    assert path.read_bytes() == message.SerializeToString()
    assert binary.read(path, type(message)) == message
    assert os.listdir(tmp_path) == ["file.binaryproto"]


def test_an_empty_file_is_an_empty_message(tmp_path):
    (tmp_path / "empty").touch()
    assert binary.read(tmp_path / "empty", caffe_pb2.NetParameter) == caffe_pb2.NetParameter()


@pytest.mark.parametrize(
    "content, help",
    [
        (b"\xff" * 40, "equal bytes"),
        (b"\0" * 400, "equal bytes"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
        (b'name: "n"\nlayer { }\n', "this is text"),
        (b"\x12\x01\xff", "damaged"),
        (solver_state().SerializeToString()[:-3], "not copied to its end"),
    ],
)
def test_other_files(content, help, tmp_path):
    path = tmp_path / "n.caffemodel"
    path.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        binary.read(path, caffe_pb2.SolverState)
    assert caught.value.where == str(path)
    assert f"the file has {len(content)} bytes, but they are no SolverState" in caught.value.message
    assert help in caught.value.help


def test_unreadable_files(tmp_path):
    (tmp_path / "net.caffemodel").touch()
    for name, message, help in [
        ("nett.caffemodel", "no such file", "net.caffemodel?"),
        (".", "a directory", None),
        ("nowhere/net.caffemodel", "no such file", "is not there"),
    ]:
        with pytest.raises(WeightsError, match=message) as caught:
            binary.read(tmp_path / name, caffe_pb2.NetParameter)
        assert help is None or help in caught.value.help


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    broken = caffe_pb2.NetParameter(name="n", layer=[caffe_pb2.LayerParameter(name="a")])
    broken.layer.add().clip_param.min = 0
    with pytest.raises(WeightsError, match="cannot be written"):
        binary.write(path, broken)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_no_such_folder(tmp_path):
    with pytest.raises(WeightsError, match="cannot be written: No such file") as caught:
        binary.write(tmp_path / "nowhere" / "file", solver_state())
    assert "folder" in caught.value.help


def test_too_large(tmp_path, monkeypatch):
    # The limit is lowered: the real one takes 2 GB of disk.
    path = tmp_path / "file"
    binary.write(path, solver_state())
    monkeypatch.setattr(files, "MAX_BYTES", 10)
    monkeypatch.setattr(binary, "MAX_BYTES", 10)
    with pytest.raises(WeightsError, match="more than 2 GB") as caught:
        binary.read(path, caffe_pb2.SolverState)
    assert "HDF5" in caught.value.help
    with pytest.raises(WeightsError, match="more than 2 GB"):
        binary.write(tmp_path / "other", solver_state())
    assert os.listdir(tmp_path) == ["file"]


def test_a_sparse_file_above_the_limit(tmp_path):
    path = tmp_path / "huge.caffemodel"
    with open(path, "wb") as file:
        file.truncate(2**31 + 1)
    with pytest.raises(WeightsError, match=f"the file has {2**31 + 1} bytes, more than 2 GB"):
        binary.read(path, caffe_pb2.NetParameter)


def test_above_64_megabytes(tmp_path):
    # The limit of C++ protobuf's early versions, which Caffe raises.
    net = caffe_pb2.NetParameter()
    for _ in range(3):
        array_to_blob_proto(np.zeros(10_000_000, np.float32), out=net.layer.add().blobs.add())
    binary.write(tmp_path / "net.caffemodel", net)
    read = binary.read(tmp_path / "net.caffemodel", caffe_pb2.NetParameter)
    assert len(read.layer[2].blobs[0].data) == 10_000_000


def nested(number, content):
    return wire.prefix(number, len(content)) + content


@pytest.mark.parametrize(
    "message_class, data, finding",
    [
        # Groups in groups, at the top and where only the library looks.
        (caffe_pb2.NetParameter, b"\x0b" * 2_000_000, "of a kind that Caffe never writes"),
        (caffe_pb2.BlobProto, b"\x0b" * 2_000_000, "they are no BlobProto"),
        (
            caffe_pb2.NetParameter,
            nested(100, nested(106, b"\x0b" * 2_000_000)),
            "they are no NetParameter",
        ),
        (caffe_pb2.NetParameter, b"\xa2\x06\x00" * 1_000_000, "more than 1000 layers and blobs"),
        (caffe_pb2.SolverState, b"\x1a\x00" * 1_000_000, "more than 1000 layers and blobs"),
        (caffe_pb2.BlobProtoVector, b"\x0a\x00" * 1_000_000, "more than 1000 layers and blobs"),
        # A length of 2^62.
        (caffe_pb2.NetParameter, b"\xa2\x06" + b"\x80" * 8 + b"\x40", "but only 0 are left"),
    ],
)
def test_absurd_depth_and_sizes(message_class, data, finding, monkeypatch):
    # The real limit is a hundred times this; a file up to there takes seconds here.
    monkeypatch.setattr(wire, "MAX_PARTS", 1000)
    with pytest.raises(WeightsError, match=finding):
        binary.parse(data, message_class)
