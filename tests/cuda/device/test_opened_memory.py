"""Memory of the opened device: arrays, copies, work space, and what is said where none is left."""

import gc
import threading

import numpy as np
import pytest

from caffe_spn.cuda.device.driver import OutOfDeviceMemory
from caffe_spn.errors import ShapeError
from tests.cuda.host_driver import HostDriver, opened


@pytest.fixture
def driver():
    return HostDriver()


@pytest.fixture
def gpu(driver):
    with opened(driver) as gpu:
        yield gpu


def test_arrays_go_up_and_down(gpu):
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    array, other = gpu.array((2, 3)), gpu.array((2, 3))
    gpu.upload(array, values)
    gpu.copy(other, array)
    gpu.zero(array)
    back = np.empty((2, 3), np.float32)
    gpu.download(back, other)
    np.testing.assert_array_equal(back, values)
    gpu.download(back, array)
    np.testing.assert_array_equal(back, 0)
    assert (gpu.uploads, gpu.downloads, gpu.uploaded_bytes, gpu.downloaded_bytes) == (1, 2, 24, 48)


@pytest.mark.parametrize(
    "host, found",
    [
        (np.zeros(5, np.float32), r"\(5,\) \(float32\)"),
        (np.zeros(6), r"\(6,\) \(float64\)"),
        (np.zeros((2, 3), np.float32).T, r"\(3, 2\) \(float32, not C-contiguous\)"),
    ],
)
def test_a_copy_of_what_does_not_fit(gpu, host, found):
    array = gpu.array((2, 3))
    for copy in (lambda: gpu.upload(array, host), lambda: gpu.download(host, array)):
        with pytest.raises(ShapeError, match=r"a device array \(2, 3\) .* an array " + found):
            copy()


def test_memory_is_free_when_the_last_array_goes(gpu, driver):
    array = gpu.array((1000,))
    part = array.part(10, (5,))
    del array
    assert gpu.memory.in_use == 4096
    del part
    assert (gpu.memory.in_use, gpu.memory.held) == (0, 4096)
    again = gpu.array((1000,))
    assert len(driver.called("allocate")) == 1
    assert (gpu.memory.in_use, gpu.memory.held) == (4096, 0)
    assert again.address in driver.blocks


def test_out_of_memory_says_how_much(gpu):
    kept = gpu.array((1 << 17,))
    with pytest.raises(OutOfDeviceMemory) as error:
        gpu.array((1 << 18,))
    assert str(error.value) == (
        "out of memory on Host 0: 1.0 MB were asked for; 0.5 MB of 1.0 MB are free, and this"
        " process's arrays hold 0.5 MB\n  help: use a smaller batch or smaller images, or compute"
        " on the CPU (set_mode_cpu(), no --gpu)"
    )
    assert kept.address in gpu.driver.blocks
    assert gpu.array((1 << 16,)).nbytes == 1 << 18


def test_out_of_memory_collects_what_refers_to_itself(gpu):
    net = {"blob": gpu.array((1 << 17,))}
    net["itself"] = net
    gc.disable()
    try:
        del net
        assert gpu.array((3 << 16,)).nbytes == 3 << 18
    finally:
        gc.enable()


def test_scratch_grows_and_is_kept(gpu):
    first = gpu.scratch(1000)
    assert gpu.scratch(500) is first
    address = first.address
    larger = gpu.scratch(5000)
    assert larger.nbytes == 5000
    # Whoever still has the smaller one has its memory too.
    assert gpu.memory.in_use >= 6000
    assert gpu.array((250,)).address != address


def test_threads_have_scratch_of_their_own(gpu, driver):
    mine = gpu.scratch(1000)
    addresses = []
    thread = threading.Thread(target=lambda: addresses.append(gpu.scratch(1000).address))
    thread.start()
    thread.join()
    assert addresses != [mine.address]
    assert driver.called("enter_thread") == [("enter_thread",)]
    assert gpu.memory.in_use == 1024


def test_threads_allocate_and_give_up_arrays(gpu):
    done = []

    def work():
        for count in range(1, 200):
            array = gpu.array((count,), np.uint8)
            gpu.zero(array)
        done.append(True)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 4
    assert gpu.memory.in_use == 0
    # Each held two at a time: the next was made before the last was dropped.
    assert 256 <= gpu.memory.held <= 8 * 256
