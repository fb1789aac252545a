"""Blobs on host and device: what is copied when, and what never is."""

import gc
import weakref

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from caffe_spn import Blob, DeviceError
from caffe_spn.cuda import runtime
from tests.cuda.host_driver import HostDriver


@pytest.fixture
def gpu():
    before = runtime.install(HostDriver())
    yield runtime.runtime()
    runtime.restore(before)


@pytest.fixture
def copies(gpu):
    """How many (uploads, downloads) there were since the last call."""
    seen = [0, 0]

    def since():
        now = [gpu.uploads, gpu.downloads]
        found = tuple(n - s for n, s in zip(now, seen, strict=True))
        seen[:] = now
        return found

    return since


def on_device(gpu, array):
    """What lies on the device now, whatever blobs think."""
    found = np.empty(array.shape, array.dtype)
    gpu.driver.to_host(found, array.address)
    return found


def compute(gpu, array, value):
    """Stands for a kernel that writes `array`."""
    gpu.driver.to_device(array.address, np.full(array.shape, value, array.dtype))


PARTS = ("data", "diff")


def get(blob, part, how=""):
    return getattr(blob, {"": "", "new": "new_gpu_", "write": "mutable_gpu_"}.get(how, how) + part)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_the_host_wrote_is_copied_up_once(gpu, copies, part, dtype):
    blob = Blob((2, 3), dtype)
    get(blob, part)[...] = 4
    array = get(blob, part, "gpu_")
    assert array.shape == (2, 3) and array.dtype == dtype
    assert (on_device(gpu, array) == 4).all()
    assert get(blob, part, "gpu_") is array
    assert copies() == (1, 0)
    get(blob, part)[0, 0] = 5
    assert copies() == (0, 0), "the host had it already"
    assert on_device(gpu, get(blob, part, "gpu_"))[0, 0] == 5
    assert copies() == (1, 0)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("how", ["new", "write"])
def test_what_the_device_wrote_is_copied_down_once(gpu, copies, part, how):
    blob = Blob((2, 3))
    compute(gpu, get(blob, part, how), 7)
    compute(gpu, get(blob, part, how), 8)
    assert copies() == (0, 0), "memory that the host never touched is not copied up"
    assert (get(blob, part) == 8).all()
    assert (get(blob, part) == 8).all()
    assert copies() == (0, 1)


@pytest.mark.parametrize("part", PARTS)
def test_reading_on_either_side_copies_nothing_between_two_that_agree(gpu, copies, part):
    blob = Blob((4,))
    compute(gpu, get(blob, part, "new"), 3)
    view = get(blob, part, "cpu_")
    assert (view == 3).all() and not view.flags.writeable
    get(blob, part, "gpu_")
    get(blob, part, "cpu_")
    assert copies() == (0, 1)
    compute(gpu, get(blob, part, "write"), 4)
    assert (get(blob, part, "cpu_") == 4).all()
    assert copies() == (0, 1)


def test_untouched_memory_is_zero_on_the_device_without_a_copy(gpu, copies):
    for blob in (Blob((3,)), Blob((3,), np.float64)):
        compute(gpu, gpu.array((3,), blob.dtype), 9)  # what the next array finds in its memory
        assert not on_device(gpu, blob.gpu_data).any()
        compute(gpu, gpu.array((3,), blob.dtype), 9)
        assert not on_device(gpu, blob.mutable_gpu_diff).any()
    assert copies() == (0, 0)


def test_what_will_be_overwritten_is_not_copied_up(gpu, copies):
    blob = Blob((3,))
    blob.data[...] = 1
    compute(gpu, blob.new_gpu_data, 2)
    assert copies() == (0, 0)
    assert (blob.data == 2).all()


def test_blobs_that_share_memory_share_its_state(gpu, copies):
    owner, sharer = Blob((2, 3)), Blob((6,))
    sharer.share_data(owner)
    owner.data[...] = 1
    assert (on_device(gpu, sharer.gpu_data) == 1).all() and sharer.gpu_data.shape == (6,)
    assert sharer.gpu_data.address == owner.gpu_data.address
    assert copies() == (1, 0)
    compute(gpu, sharer.mutable_gpu_data, 2)
    assert (owner.data == 2).all()
    late = Blob((3, 2))
    assert late.gpu_data.address != owner.gpu_data.address
    late.share_data(owner)
    assert late.gpu_data.address == owner.gpu_data.address


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


def test_a_blob_without_elements(gpu):
    blob = Blob((0, 3))
    assert blob.gpu_data.shape == (0, 3)
    assert blob.new_gpu_data.nbytes == 0
    assert blob.data.shape == (0, 3)


def test_memory_on_the_device_goes_with_the_blob(gpu):
    blob = Blob((1000,))
    blob.gpu_data  # noqa: B018
    memory = weakref.ref(blob.data_memory)
    assert gpu.memory.in_use >= 4000
    del blob
    gc.collect()
    assert memory() is None and gpu.memory.in_use == 0


# Zeros


@pytest.mark.parametrize("newest", ["nowhere", "host", "device", "both"])
def test_a_diff_is_cleared_where_it_is(gpu, copies, newest):
    blob = Blob((3,))
    if newest in ("host", "both"):
        blob.diff[...] = 5
    if newest == "device":
        compute(gpu, blob.new_gpu_diff, 5)
    if newest == "both":
        blob.gpu_diff  # noqa: B018
    copies()
    blob.zero_diff()
    assert copies() == (0, 0)
    assert not on_device(gpu, blob.gpu_diff).any()
    assert copies() == (int(newest == "host"), 0)
    compute(gpu, blob.mutable_gpu_diff, 6)
    blob.zero_diff()
    assert not blob.diff.any()


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


def test_without_a_device_a_diff_is_cleared_too():
    blob = Blob((3,))
    blob.zero_diff()
    assert blob.nbytes == 0, "untouched memory is zero"
    blob.diff[...] = 5
    blob.zero_diff()
    assert not blob.diff.any()


# The device's end


def test_values_survive_the_closing_of_the_device():
    before = runtime.install(HostDriver())
    try:
        newer_there, newer_here, untouched = Blob((3,)), Blob((3,)), Blob((3,))
        compute(runtime.runtime(), newer_there.new_gpu_data, 1)
        newer_here.data[...] = 2
        newer_here.gpu_data  # noqa: B018
        untouched.gpu_data  # noqa: B018
        newer_here.data[0] = 3
    finally:
        runtime.restore(before)
    assert newer_there.data.tolist() == [1, 1, 1]
    assert newer_here.data.tolist() == [3, 2, 2]
    before = runtime.install(HostDriver())
    try:
        gpu = runtime.runtime()
        found = [on_device(gpu, b.gpu_data).tolist() for b in (newer_there, newer_here, untouched)]
    finally:
        runtime.restore(before)
    assert found == [[1, 1, 1], [3, 2, 2], [0, 0, 0]]


def test_without_a_device():
    before = runtime.install(None)
    try:
        blob = Blob((2,))
        for name in ("gpu_data", "mutable_gpu_data", "new_gpu_data", "gpu_diff"):
            with pytest.raises(DeviceError, match="no GPU is open"):
                getattr(blob, name)
        with pytest.raises(
            DeviceError, match="address of a blob's diff on the GPU was asked for: no GPU is open"
        ):
            blob._gpu_diff_ptr  # noqa: B018
        blob.data[...] = 1
        assert blob.data.tolist() == [1, 1]
    finally:
        runtime.restore(before)


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
    before = runtime.install(HostDriver())
    try:
        gpu = runtime.runtime()
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
    finally:
        runtime.restore(before)
    blobs[0].reshape(CAPACITY)
    assert blobs[0].diff.tolist() == expected.tolist(), "after the device was closed"


# pycaffe


@pytest.mark.parametrize("part", PARTS)
def test_the_addresses_of_pycaffe_are_to_write_to(gpu, part):
    blob = Blob((2,))
    get(blob, part)[...] = 1
    address = getattr(blob, f"_gpu_{part}_ptr")
    assert isinstance(address, int) and address == get(blob, part, "gpu_").address
    assert (on_device(gpu, get(blob, part, "gpu_")) == 1).all()
    gpu.driver.to_device(address, np.array([5, 6], np.float32))
    assert get(blob, part).tolist() == [5, 6]
