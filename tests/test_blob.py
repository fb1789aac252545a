"""Blob: shapes, lazy memory, sharing."""

import numpy as np
import pytest

from caffe_spn import Blob, ShapeError


def test_a_new_blob_is_zero_and_writable():
    blob = Blob((2, 3))
    assert blob.shape == (2, 3) and blob.count == 6
    assert blob.data.dtype == np.float32 and not blob.data.any()
    blob.data[1, 2] = 5
    assert blob.data[1, 2] == 5


def test_diff_costs_nothing_until_it_is_touched():
    blob = Blob((10, 10))
    blob.data[...] = 1
    assert blob.nbytes == 400
    assert blob.diff.shape == (10, 10)
    assert blob.nbytes == 800


def test_reshape_keeps_the_memory_where_it_suffices():
    blob = Blob((2, 6))
    blob.data[...] = np.arange(12).reshape(2, 6)
    memory = blob.data
    blob.reshape(3, 2)
    assert blob.data.tolist() == [[0, 1], [2, 3], [4, 5]]
    blob.reshape(12)
    assert np.shares_memory(memory, blob.data)
    blob.reshape(13)
    assert not np.shares_memory(memory, blob.data)


def test_reshape_takes_a_sequence_too():
    blob = Blob()
    assert blob.shape == () and blob.count == 1
    blob.reshape((4, 5))
    assert blob.shape == (4, 5)


def test_legacy_shape_pads_with_ones_and_ends_at_four_axes():
    blob = Blob((7, 3))
    assert (blob.num, blob.channels, blob.height, blob.width) == (7, 3, 1, 1)
    with pytest.raises(ShapeError, match="up to 4 axes"):
        Blob((1, 2, 3, 4, 5)).num  # noqa: B018


def test_sharing_lets_two_blobs_use_one_memory():
    owner, sharer = Blob((2, 3)), Blob((6,))
    sharer.share_data(owner)
    sharer.share_diff(owner)
    sharer.data[4] = 1
    owner.diff[0, 1] = 2
    assert owner.data[1, 1] == 1 and sharer.diff[1] == 2
    assert sharer.shares_data_with(owner)


def test_sharing_needs_equal_counts():
    with pytest.raises(ShapeError, match=r"\(6,\).*cannot share.*\(2, 2\)"):
        Blob((6,)).share_data(Blob((2, 2)))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, -1), "negative dimension"),
        ((65536, 65536), "4294967296 elements"),
        ((1,) * 33, "at most 32 axes"),
    ],
)
def test_impossible_shapes_are_refused(shape, message):
    with pytest.raises(ShapeError, match=message):
        Blob(shape)
