"""Blobs on host and device whose memory is larger than they are: nothing of it is lost."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from caffe_spn import Blob
from tests.cuda.host_driver import HostDriver, compute, on_device, opened


@pytest.fixture
def gpu():
    with opened(HostDriver()) as gpu:
        yield gpu


def test_a_smaller_blob_copies_only_its_own_elements(gpu):
    blob = Blob((100,))
    blob.data[...] = 1
    assert blob.gpu_data.size == 100
    blob.reshape(10)
    blob.data[...] = 2
    before = gpu.uploaded_bytes, gpu.downloaded_bytes
    assert blob.gpu_data.shape == (10,)
    compute(gpu, blob.mutable_gpu_data, 3)
    assert (blob.data == 3).all()
    assert (gpu.uploaded_bytes, gpu.downloaded_bytes) == (before[0] + 40, before[1] + 40)
    blob.reshape(100)
    assert blob.data.tolist() == [3] * 10 + [1] * 90
    assert on_device(gpu, blob.gpu_data).tolist() == [3] * 10 + [1] * 90


def test_nothing_is_lost_behind_a_smaller_blob(gpu):
    """A net that was given a large image and then a small one, in either order of sides."""
    blob = Blob((6,))
    blob.data[...] = 1
    blob.reshape(2)
    compute(gpu, blob.new_gpu_data, 2)
    blob.reshape(6)
    assert blob.data.tolist() == [2, 2, 1, 1, 1, 1]
    compute(gpu, blob.new_gpu_data, 3)
    blob.reshape(2)
    blob.data[...] = 4
    blob.reshape(6)
    assert on_device(gpu, blob.gpu_data).tolist() == [4, 4, 3, 3, 3, 3]


def test_a_larger_blob_takes_new_memory_on_both_sides(gpu):
    blob = Blob((2,))
    compute(gpu, blob.new_gpu_data, 3)
    old = blob.gpu_data
    blob.reshape(1000)
    assert blob.gpu_data.address != old.address and not on_device(gpu, blob.gpu_data).any()
    assert (on_device(gpu, old) == 3).all(), "who holds the old array can go on reading it"


def test_only_the_blobs_own_elements_are_cleared(gpu):
    for newest in ("host", "device", "both"):
        blob = Blob((4,))
        if newest == "device":
            compute(gpu, blob.new_gpu_diff, 5)
        else:
            blob.diff[...] = 5
        if newest == "both":
            blob.gpu_diff  # noqa: B018
        blob.reshape(2)
        blob.zero_diff()
        blob.reshape(4)
        assert on_device(gpu, blob.gpu_diff).tolist() == [0, 0, 5, 5], newest
        assert blob.diff.tolist() == [0, 0, 5, 5], newest


# Any order of accesses

CAPACITY = 6
HOW = ("diff", "cpu_diff", "gpu_diff", "mutable_gpu_diff", "new_gpu_diff", "zero")
ACCESS = st.tuples(st.sampled_from(HOW), st.integers(0, 1), st.integers(0, CAPACITY))


@settings(deadline=None)
@given(st.lists(ACCESS, max_size=20))
@example([("diff", 0, 6), ("new_gpu_diff", 0, 2), ("gpu_diff", 0, 6)])
@example([("diff", 0, 6), ("diff", 1, 2), ("gpu_diff", 0, 6)])
@example([("new_gpu_diff", 0, 6), ("new_gpu_diff", 0, 2), ("diff", 0, 6)])
def test_every_reader_sees_what_was_written_last(accesses):
    """Two blobs of any sizes on one memory, against one plain array."""
    with opened(HostDriver()) as gpu:
        compute(gpu, gpu.array((CAPACITY,)), 99)  # what the blobs find in their memory
        expected = np.zeros(CAPACITY, np.float32)
        blobs = Blob((CAPACITY,)), Blob((CAPACITY,))
        blobs[1].share_diff(blobs[0])
        for value, (how, index, count) in enumerate(accesses, start=1):
            blob = blobs[index]
            blob.reshape(count)
            if how == "zero":
                blob.zero_diff()
                expected[:count] = 0
                continue
            found = getattr(blob, how)
            if how != "new_gpu_diff":
                seen = found if isinstance(found, np.ndarray) else on_device(gpu, found)
                assert seen.tolist() == expected[:count].tolist()
            if how == "diff":
                found[count // 2 :] = expected[count // 2 : count] = value
            elif how == "mutable_gpu_diff":
                compute(gpu, found.part(0, (count // 2,)), value)
                expected[: count // 2] = value
            elif how == "new_gpu_diff":
                compute(gpu, found, value)
                expected[:count] = value
    blobs[0].reshape(CAPACITY)
    assert blobs[0].diff.tolist() == expected.tolist(), "after the device was closed"
