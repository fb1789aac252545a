"""What the emulated driver refuses: launches, copies and allocations that a device would refuse."""

import threading

import numpy as np
import pytest

from caffe_spn.cuda import runtime
from caffe_spn.cuda.device.driver import OutOfDeviceMemory
from tests.cuda.emulation.arrays import to_device, to_host
from tests.cuda.emulation.build import EmulationError
from tests.cuda.emulation.driver import EmulatedDriver
from tests.cuda.emulation.memory import view

pytestmark = pytest.mark.usefixtures("emulated_only")

SOURCE = "kernels.cu"


# Launches


@pytest.mark.parametrize(
    ("grid", "block", "shared", "message"),
    [
        (1, 257, 0, "257 threads in a block; the most are 256"),  # its launch bounds
        (1, 0, 0, r"grid \(1, 1, 1\) and block \(0, 1, 1\) must be positive"),
        (0, 32, 0, "must be positive"),
        ((1, 65536), 32, 0, r"grid \(1, 65536, 1\); the most are"),
        ((1, 1, 65536), 32, 0, r"grid \(1, 1, 65536\); the most are"),
        (1, (1, 1, 65), 0, "the third size is at most 64"),
        (1, 32, 227 * 1024 + 1, "232449 bytes of shared memory; Emulated GPU has 232448"),
    ],
)
def test_a_launch_beyond_the_limits_is_refused(gpu, grid, block, shared, message):
    x = gpu.array((8,))
    with pytest.raises(EmulationError, match=message):
        gpu.launch(SOURCE, "normalize_rows", grid, block, x, x, 8, shared=shared)


def test_more_than_1024_threads_are_refused(gpu):
    with pytest.raises(EmulationError, match="1056 threads in a block; the most are 1024"):
        gpu.launch("faults.cu", "null_address", 1, 1056, gpu.array((8,)))


def test_the_small_device_has_less_shared_memory(gpu):
    before = runtime.install(EmulatedDriver(), 1)
    try:
        small = runtime.runtime()
        assert small.device.capability == (7, 5)
        with pytest.raises(EmulationError, match="65537 bytes of shared memory"):
            small.launch("faults.cu", "null_address", 1, 32, None, shared=65537)
    finally:
        runtime.restore(before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("x", "x"), "2 arguments for 3 parameters"),
        (("x", "x", 1, 2), "4 arguments for 3 parameters"),
        (("x", "x", 1.0), "argument 2 is a float32; the parameter is a signed integer of 4 bytes"),
        (("x", "x", np.int64(1)), "argument 2 is a int64; the parameter is a signed integer of 4"),
        (("x", 1, 1), "argument 1 is a int32; the parameter is a pointer of 8 bytes"),
        ((np.uint64(4096), "x", 1), "argument 0: the address 0x1000 is not in device memory"),
        (("x", "freed", 1), "argument 1: the address .* is not in device memory; was it freed?"),
    ],
)
def test_arguments_must_be_those_of_the_kernel(gpu, arguments, message):
    freed = np.uint64(gpu.array((64,)).address)
    known = {"x": gpu.array((256,)), "freed": freed}
    values = [known[a] if isinstance(a, str) else a for a in arguments]
    with pytest.raises(EmulationError, match=message):
        gpu.launch(SOURCE, "stencil", 1, 256, *values)


def test_an_unknown_kernel_or_file_is_named(gpu):
    with pytest.raises(EmulationError, match="there is no kernel 'stensil'"):
        gpu.launch(SOURCE, "stensil", 1, 1)
    with pytest.raises(FileNotFoundError, match=r"none\.cu"):
        gpu.launch("none.cu", "stencil", 1, 1)


def test_a_kernel_that_does_not_compile_gives_the_compilers_message(gpu):
    with pytest.raises(EmulationError, match=r"g\+\+ does not compile it:[^^]*atomics"):
        gpu.launch("variants.cu", "adds_floats", 1, 1, None, options=("-DFLOAT_ATOMICS",))


def test_options_choose_among_variants(gpu):
    y = gpu.array((1,))
    for variant, expected in ((2, 4.0), (3, 9.0)):
        gpu.launch("variants.cu", "variant", 1, 1, y, options=(f"-DVARIANT={variant}",))
        assert to_host(gpu, y)[0] == expected


def test_launch_bounds_are_the_most_threads(gpu):
    assert gpu.function(SOURCE, "normalize_rows").max_threads == 256
    assert gpu.function(SOURCE, "stencil").max_threads == 1024


# Memory


def test_memory_runs_out_and_comes_back(gpu):
    free, total = gpu.driver.memory_info()
    assert free == total
    gpu.driver.memory.total = 1000
    kept = gpu.array((200,))
    with pytest.raises(OutOfDeviceMemory):
        gpu.array((100,))
    assert gpu.driver.memory_info() == (200, 1000)
    del kept
    assert gpu.array((250,)).nbytes == 1000


def test_copies_must_lie_in_one_array(gpu):
    x = gpu.array((4,))
    host = np.zeros(5, np.float32)
    with pytest.raises(EmulationError, match="20 bytes at byte 0 of an array of 16"):
        gpu.driver.to_device(x.address, host)
    with pytest.raises(EmulationError, match="16 bytes at byte 4 of an array of 16"):
        gpu.driver.to_host(host[:4], x.address + 4)
    with pytest.raises(EmulationError, match="not contiguous"):
        gpu.driver.to_device(x.address, host[::2])
    with pytest.raises(EmulationError, match="is not in device memory"):
        gpu.driver.fill(x.address - 4096 * 16, 0, 4, None)


def test_copies_within_the_device(gpu):
    x = to_device(gpu, np.arange(6, dtype=np.float32))
    y = gpu.array((6,))
    gpu.zero(y)
    gpu.driver.copy(y.address + 8, x.address, 12, gpu.stream)
    np.testing.assert_array_equal(to_host(gpu, y), [0, 0, 0, 1, 2, 0])


def test_only_what_is_allocated_can_be_freed(gpu):
    address = gpu.driver.allocate(100)
    assert address % 256 == 0
    gpu.driver.free(address)
    with pytest.raises(EmulationError, match="which is not allocated"):
        gpu.driver.free(address)
    with pytest.raises(EmulationError, match="an allocation of 0 bytes"):
        gpu.driver.allocate(0)


def test_a_write_outside_that_no_launch_could_name_is_found_when_the_array_is_freed(gpu):
    address = gpu.driver.allocate(100)
    view(address + 100, 1)[:] = 0
    with pytest.raises(EmulationError, match="wrote outside an array of 100 bytes: at byte 100"):
        gpu.driver.free(address)
    gpu.driver.free(address)


# Threads, streams, events


def test_a_thread_must_enter_first(gpu):
    caught = []

    def work():
        try:
            gpu.driver.allocate(1)
        except EmulationError as error:
            caught.append(str(error))
        gpu.enter()
        caught.append(gpu.driver.memory_info())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert "no context is current in this thread" in caught[0]
    assert len(caught) == 2


def test_events_measure_time(gpu):
    start, end = gpu.driver.new_event(timing=True), gpu.driver.new_event(timing=True)
    with pytest.raises(EmulationError, match="not recorded"):
        gpu.driver.elapsed(start, end)
    gpu.driver.record(start, gpu.stream)
    gpu.driver.record(end, gpu.stream)
    assert gpu.driver.elapsed(start, end) >= 0
    with pytest.raises(EmulationError, match="timing=True"):
        gpu.driver.elapsed(gpu.driver.new_event(), end)


def test_after_the_fixture_there_is_no_device():
    assert not runtime.is_open()
