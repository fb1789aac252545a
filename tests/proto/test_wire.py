"""Numbers out of binary messages without a copy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caffe_spn.proto import caffe_pb2, wire


def net_with_blobs():
    net = caffe_pb2.NetParameter(name="n", input=["x"])
    layer = net.layer.add(name="a", bottom=["x"])
    layer.blobs.add(data=[1, 2, 3], diff=[4, 5, 6]).shape.dim.append(3)
    layer.blobs.add(double_data=[0.5], num=1)
    layer.convolution_param.num_output = 3
    old = net.layers.add(name="b", blobs_lr=[1])
    old.blobs.add(data=[7])
    older = net.layers.add().layer
    older.name = "c"
    older.blobs.add(data=[8, 9], width=2)
    return net


def test_numbers_and_skeleton():
    data = net_with_blobs().SerializeToString()
    skeleton, numbers = wire.extract(data, wire.NET)
    net = caffe_pb2.NetParameter.FromString(skeleton)
    blobs = [*net.layer[0].blobs, *net.layers[0].blobs, *net.layers[1].layer.blobs]
    found = [numbers[wire.index_of(blob)] for blob in blobs]
    assert [n.data is None or n.data.tolist() for n in found] == [[1, 2, 3], True, [7], [8, 9]]
    assert found[0].diff.tolist() == [4, 5, 6]
    assert found[1].double_data.tolist() == [0.5]
    assert np.shares_memory(found[0].data, np.frombuffer(data, np.uint8))

    expected = net_with_blobs()
    for tree in (net, expected):
        for blob in [*tree.layer[0].blobs, *tree.layers[0].blobs, *tree.layers[1].layer.blobs]:
            for field in ("data", "diff", "double_data", "double_diff"):
                blob.ClearField(field)
    assert net == expected


def test_pieces_and_single_numbers_are_joined():
    packed = wire.length_delimited(5, b"1234") + np.float32(1).tobytes()
    single = wire.varint(5 << 3 | wire.FIXED32) + np.float32(2).tobytes()
    blob = packed + single
    _, (numbers,) = wire.extract(wire.length_delimited(1, blob) + blob, {1: wire.BLOB})
    assert numbers.data.tolist() == [1, 2]


@pytest.mark.parametrize("number, dtype", [(5, "<f4"), (8, "<f8")])
@pytest.mark.parametrize("count", [1, 2, 70_000])
def test_numbers_with_a_tag_each_are_a_view(number, dtype, count):
    """As writers without [packed = true] have them; 70,000 is more than one step of the search."""
    values = np.arange(count, dtype=dtype) + 0.5
    kind = wire.FIXED32 if dtype == "<f4" else wire.FIXED64
    one = np.dtype([("tag", "u1"), ("value", dtype)])
    tagged = np.empty(count, one)
    tagged["tag"], tagged["value"] = number << 3 | kind, values
    blob = (
        b"\x08\x07" + tagged.tobytes() + b"\x10\x07" + wire.length_delimited(6, b"1234") + b"1234"
    )
    data = wire.prefix(1, len(blob)) + blob
    _, (numbers,) = wire.extract(data, {1: wire.BLOB})
    found = numbers.data if number == 5 else numbers.double_data
    np.testing.assert_array_equal(found, values)
    assert np.shares_memory(found, np.frombuffer(data, np.uint8))
    np.testing.assert_array_equal(found.reshape(1, count)[0], values)


def test_tag_that_is_longer_than_it_must_be():
    blob = b"\xad\x00" + np.float32(3).tobytes() + b"\x2d" + np.float32(4).tobytes()
    _, (numbers,) = wire.extract(wire.prefix(1, len(blob)) + blob, {1: wire.BLOB})
    assert numbers.data.tolist() == [3, 4]


def test_what_forks_add_to_blobs_is_left_out():
    blob = b"\x08\x02" + wire.prefix(99, 3) + b"abc"
    skeleton, (numbers,) = wire.extract(wire.prefix(1, len(blob)) + blob, {1: wire.BLOB})
    assert len(skeleton) == 2 + 2 + 9
    assert numbers.data is None


@pytest.mark.parametrize(
    "limit, value, data, error",
    [
        ("MAX_PARTS", 3, b"\xa2\x06\x00" * 4, "more than 3 layers and blobs up to byte 9"),
        ("MAX_PARTS", 3, b"\xa2\x06\x08" + b"\x3a\x00" * 4, "more than 3 layers and blobs"),
        ("MAX_STRUCTURE", 1 << 20, wire.prefix(1, 1 << 20) + bytes(1 << 20), "more than 1 MB"),
        ("MAX_STRUCTURE", 1 << 20, wire.prefix(3, 1 << 20) + bytes(1 << 20), "more than 1 MB"),
    ],
)
def test_more_structure_than_any_network_has(limit, value, data, error, monkeypatch):
    monkeypatch.setattr(wire, limit, value)
    with pytest.raises(wire.WireError, match=error):
        wire.extract(data, wire.NET)


def test_pieces_of_numbers_count_too(monkeypatch):
    # Each costs an array: a blob of single numbers between which other fields stand.
    monkeypatch.setattr(wire, "MAX_PARTS", 5)
    blob = b"\x2d1234\x08\x01" * 6
    data = wire.prefix(1, len(blob)) + blob
    with pytest.raises(wire.WireError, match="more than 5 layers and blobs"):
        wire.extract(data, {1: wire.BLOB})


def test_groups_of_any_depth_are_refused():
    with pytest.raises(wire.WireError, match="of a kind that Caffe never writes"):
        wire.extract(b"\x0b" * 1_000_000, wire.NET)


@pytest.mark.parametrize(
    "blob, error",
    [
        (b"\x2a\x03abc", "data at byte 2 is 3 bytes long, not a multiple of 4"),
        (b"\x2a\x08abcd", "field 5 at byte 2 should go on for 8 bytes, but only 4 are left"),
        (b"\x28\x01", "data at byte 2 does not hold numbers"),
        (b"\x2a", "the number at byte 3 is cut off"),
        (b"\x2a" + b"\xff" * 10, "the number at byte 3 is no number"),
        (b"\x2b", "field 5 at byte 2 is of a kind that Caffe never writes"),
        (b"\x00\x00", "the bytes at 2 are no field"),
    ],
)
def test_damaged(blob, error):
    with pytest.raises(wire.WireError, match=error):
        wire.extract(wire.length_delimited(1, blob) + blob, {1: wire.BLOB})


@given(st.binary(max_size=60))
def test_random_bytes_never_crash(data):
    try:
        skeleton, _ = wire.extract(data, wire.NET)
    except wire.WireError:
        return
    assert len(skeleton) <= 20 * len(data) + 20


@given(st.integers(0, 2**40))
def test_varint(value):
    assert wire._varint(memoryview(wire.varint(value)), 0, 10) == (value, len(wire.varint(value)))
