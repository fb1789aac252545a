"""Blobs on host and device: what is copied when, and what never is."""

import gc
import weakref

import numpy as np
import pytest

from caffe_spn import Blob, DeviceError
from tests.cuda.host_driver import HostDriver, compute, on_device, opened


@pytest.fixture
def gpu():
    with opened(HostDriver()) as gpu:
        yield gpu


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


def test_without_a_device_a_diff_is_cleared_too():
    blob = Blob((3,))
    blob.zero_diff()
    assert blob.nbytes == 0, "untouched memory is zero"
    blob.diff[...] = 5
    blob.zero_diff()
    assert not blob.diff.any()


# The device's end


def test_values_survive_the_closing_of_the_device():
    with opened(HostDriver()) as gpu:
        newer_there, newer_here, untouched = Blob((3,)), Blob((3,)), Blob((3,))
        compute(gpu, newer_there.new_gpu_data, 1)
        newer_here.data[...] = 2
        newer_here.gpu_data  # noqa: B018
        untouched.gpu_data  # noqa: B018
        newer_here.data[0] = 3
    assert newer_there.data.tolist() == [1, 1, 1]
    assert newer_here.data.tolist() == [3, 2, 2]
    with opened(HostDriver()) as gpu:
        found = [on_device(gpu, b.gpu_data).tolist() for b in (newer_there, newer_here, untouched)]
    assert found == [[1, 1, 1], [3, 2, 2], [0, 0, 0]]


def test_without_a_device():
    with opened(None):
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
