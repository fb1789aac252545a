"""Uploads for which the host does not wait."""

import gc
import weakref

import numpy as np
import pytest

from caffe_spn import Blob
from caffe_spn.cuda import runtime
from caffe_spn.cuda.device import staging
from tests.cuda.emulation.arrays import to_host
from tests.cuda.host_driver import HostDriver, opened


class Lazy(HostDriver):
    """Copies on a stream when somebody waits, as late as a device may."""

    def __init__(self):
        super().__init__(1 << 30)
        self.waiting = []
        self.pinned_bytes = []

    def pinned(self, shape, dtype):
        self.pinned_bytes.append(shape[0])
        return super().pinned(shape, dtype)

    def to_device(self, address, array, stream=None):
        if stream is None:
            self.run()
            super().to_device(address, array)
        else:
            self.waiting.append((address, array))

    def record(self, event, stream):
        event.after = len(self.waiting)

    def synchronize(self, what=None):
        self.run()

    def to_host(self, array, address, stream=None):
        self.run()
        super().to_host(array, address)

    def run(self):
        for address, array in self.waiting:
            super().to_device(address, array)
        self.waiting.clear()


@pytest.fixture
def gpu():
    with opened(Lazy()) as gpu:
        yield gpu


def test_the_array_may_change_at_once_and_nobody_waits(gpu):
    arrays = [gpu.array((2, 3)) for _ in range(staging.BUFFERS)]
    source = np.empty((2, 3), np.float32)
    for i, array in enumerate(arrays):
        source[...] = i
        staging.upload(gpu, array, source)
    assert len(gpu.driver.waiting) == staging.BUFFERS
    for i, array in enumerate(arrays):
        assert (to_host(gpu, array) == i).all()


def test_a_buffer_is_used_again_when_it_was_taken(gpu):
    arrays = [gpu.array((5,)) for _ in range(3 * staging.BUFFERS + 1)]
    for i, array in enumerate(arrays):
        staging.upload(gpu, array, np.full(5, i, np.float32))
    for i, array in enumerate(arrays):
        assert (to_host(gpu, array) == i).all()
    assert len(gpu.driver.pinned_bytes) == staging.BUFFERS


def test_buffers_grow_and_take_every_type(gpu):
    for count, dtype in [(3, np.float32), (7, np.float64), (500, np.uint8), (9, np.int32)] * 2:
        for _ in range(staging.BUFFERS):
            source = np.arange(count).astype(dtype)
            array = gpu.array((count,), dtype)
            staging.upload(gpu, array, source)
            np.testing.assert_array_equal(to_host(gpu, array), source)
    assert gpu.driver.pinned_bytes == [size for size in (24, 112, 1000) for _ in range(4)]


def test_what_is_large_is_copied_from_where_it_is(gpu, monkeypatch):
    monkeypatch.setattr(staging, "MOST_BYTES", 64)
    for count, pinned in [(16, [64]), (17, [64]), (0, [64])]:
        source, array = np.ones(count, np.float32), gpu.array((count,))
        staging.upload(gpu, array, source)
        assert (to_host(gpu, array) == 1).all()
        assert gpu.driver.pinned_bytes == pinned


def test_blobs_are_uploaded_this_way(gpu):
    blob = Blob((2, 3))
    blob.data[...] = 1
    first = blob.gpu_data
    assert len(gpu.driver.waiting) == 1
    blob.data[...] = 2
    assert (to_host(gpu, first) == 1).all()
    assert (to_host(gpu, blob.gpu_data) == 2).all()


def test_it_goes_with_the_device():
    before = runtime.install(Lazy())
    try:
        gpu = runtime.runtime()
        staging.upload(gpu, gpu.array((3,)), np.ones(3, np.float32))
        gone = weakref.ref(staging._staging[gpu])
    finally:
        runtime.restore(before)
    del gpu
    gc.collect()
    assert gone() is None
