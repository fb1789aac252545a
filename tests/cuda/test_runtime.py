"""The opened device: what it refuses, its memory, its streams, and how it ends."""

import ctypes
import gc
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from caffe_spn.cuda import runtime
from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.device.devices import checked
from caffe_spn.cuda.device.driver import DeviceLost, OutOfDeviceMemory
from caffe_spn.cuda.device.programs import Arguments
from caffe_spn.cuda.runtime import blocks
from caffe_spn.errors import DeviceError, ShapeError
from tests.cuda.host_driver import HostDriver


@pytest.fixture
def driver():
    return HostDriver()


@pytest.fixture
def gpu(driver):
    before = runtime.install(driver)
    yield runtime.runtime()
    runtime.restore(before)


def calls(driver, name):
    return [call for call in driver.calls if call[0] == name]


# Opening


def test_without_a_device_says_how_to_open_one():
    before = runtime.install(None)
    try:
        assert not runtime.is_open()
        with pytest.raises(DeviceError, match=r"no GPU is open\n  help: call .*set_mode_gpu"):
            runtime.runtime()
    finally:
        runtime.restore(before)


@pytest.mark.parametrize("ordinal", [-1, 3])
def test_a_wrong_ordinal(driver, ordinal):
    with pytest.raises(
        DeviceError, match=f"GPU {ordinal} was asked for; there are 3, numbered from 0"
    ) as error:
        runtime.install(driver, ordinal)
    assert "device_query" in error.value.help
    assert driver.calls == []


@pytest.mark.parametrize("count, there", [(0, "there is none"), (1, "there is one, number 0")])
def test_a_wrong_ordinal_of_few(driver, count, there):
    with pytest.raises(DeviceError, match=there):
        checked(driver.devices()[:count], 5)


def test_an_old_architecture(driver):
    with pytest.raises(DeviceError, match=r"Host 2 has compute capability 6.1; at least 7.5"):
        runtime.install(driver, 2)
    assert driver.calls == []


def test_install_and_restore(driver):
    before = runtime.install(driver)
    mine = runtime.runtime()
    inner = HostDriver()
    assert runtime.install(inner, 1) is mine
    assert runtime.runtime().device.name == "Host 1"
    runtime.restore(mine)
    assert runtime.runtime() is mine
    assert inner.calls[-1] == ("close",)
    assert calls(driver, "close") == []
    runtime.restore(before)
    assert calls(driver, "close") == [("close",)]


def test_open_device_keeps_the_open_one(gpu):
    assert runtime.open_device(0) is gpu


def test_another_device_only_while_the_first_is_empty(gpu, driver):
    array = gpu.array((10,))
    gpu.scratch(100)
    with pytest.raises(DeviceError, match=r"GPU 1 was asked for; .* 0.0 MB on GPU 0") as error:
        runtime.open_device(1)
    assert "before the first net" in error.value.help
    assert runtime.runtime() is gpu
    del array
    with pytest.raises(DeviceError, match="there are 3"):
        runtime.open_device(7)
    assert runtime.runtime() is gpu
    assert runtime.open_device(1).device.ordinal == 1
    assert driver.calls[-1] == ("close",)
    assert driver.blocks == {}


def test_close_device(driver):
    before = runtime.install(driver)
    gpu = runtime.runtime()
    kept = gpu.array((3,))
    asked = []
    gpu.before_close.append(asked.append)
    runtime.close_device()
    assert asked == [gpu]
    assert not runtime.is_open()
    assert driver.blocks == {}
    assert driver.calls[-1] == ("close",)
    with pytest.raises(DeviceError, match="Host 0 was closed"):
        gpu.zero(kept)
    del kept
    runtime.close_device()
    assert calls(driver, "close") == [("close",)]
    runtime.restore(before)


# Memory


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
    assert len(calls(driver, "allocate")) == 1
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
    assert calls(driver, "enter_thread") == [("enter_thread",)]
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


# Kernels


def test_launch_passes_what_c_expects(gpu, driver):
    array = gpu.array((3,))
    for _ in range(2):
        gpu.launch("a.cu", "k", 4, (32, 2), array, None, 5, True, 0.5, np.int64(7), shared=64)
    gpu.launch("a.cu", "k", (1, 2, 3), 256, options=("-DN=2",))
    assert gpu.launches == 3
    launches = calls(driver, "launch")
    assert launches[0][1:4] == ("k", (4, 1, 1), (32, 2, 1))
    assert launches[0][5] == 64
    assert launches[2][1:4] == ("k", (1, 2, 3), (256, 1, 1))
    arguments = list(launches[0][4])
    types = [np.uint64, np.uint64, np.int32, np.int32, np.float32, np.int64]
    assert len(launches[2][4]) == 0
    assert [type(a) for a in arguments] == types
    assert arguments == [array.address, 0, 5, 1, 0.5, 7]
    assert [call[1:] for call in calls(driver, "load")] == [("a.cu", ()), ("a.cu", ("-DN=2",))]
    assert len(calls(driver, "function")) == 2


def test_arguments_are_packed_as_c_does():
    class Expected(ctypes.Structure):
        _fields_ = [
            ("flag", ctypes.c_int),
            ("array", ctypes.c_void_p),
            ("byte", ctypes.c_uint8),
            ("factor", ctypes.c_double),
            ("alpha", ctypes.c_float),
            ("none", ctypes.c_void_p),
            ("half", ctypes.c_uint16),
            ("count", ctypes.c_longlong),
            ("last", ctypes.c_int),
        ]

    given = [True, np.uint8(3), np.float64(0.1), 0.5, np.float16(1), np.int64(-(2**40)), 7]
    given[1:1] = [DeviceArray(2**63 + 256, (2, 2))]
    given[5:5] = [None]
    expected = Expected(1, 2**63 + 256, 3, 0.1, 0.5, 0, 0x3C00, -(2**40), 7)
    fields = [getattr(Expected, name) for name, _ in Expected._fields_]
    for _ in range(2):
        packed = Arguments(given).packed()
        for field in fields:
            part = slice(field.offset, field.offset + field.size)
            assert packed[part] == bytes(expected)[part]
    assert len(packed) == fields[-1].offset + fields[-1].size
    assert Arguments([]).packed() == b""


@pytest.mark.parametrize("value", [np.zeros(3), "x", b"x", np.zeros(1, "V8")[0], np.bool_(True)])
def test_launch_refuses_what_no_kernel_takes(value):
    for use in (list, Arguments.packed):
        with pytest.raises(TypeError, match=f"a kernel takes no {type(value).__name__}"):
            use(Arguments([value]))


@pytest.mark.parametrize("count, expected", [(0, 1), (1, 1), (256, 1), (257, 2), (2**31 - 1, 2112)])
def test_blocks(count, expected):
    assert blocks(count) == expected


def test_events_order_two_streams(gpu, driver):
    event = gpu.event()
    gpu.record(event, gpu.copy_stream)
    gpu.wait(event)
    gpu.synchronize()
    gpu.synchronize(event)
    assert gpu.copy_stream is not gpu.stream
    assert driver.calls[-4:] == [
        ("record", event, gpu.copy_stream),
        ("wait", gpu.stream, event),
        ("synchronize", gpu.stream),
        ("synchronize", event),
    ]


# The end


def test_a_lost_device(driver):
    before = runtime.install(driver)
    gpu = runtime.runtime()
    array = gpu.array((3,))
    asked = []
    gpu.before_close.append(asked.append)
    driver.lost = "an illegal address, after the kernel k"
    with pytest.raises(DeviceLost, match="the GPU was lost: an illegal address") as error:
        gpu.zero(array)
    assert "last snapshot" in error.value.help
    runtime.close_device()
    assert driver.calls[-1] == ("abandon",)
    assert asked == []
    runtime.restore(before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is not on this system")
def test_a_forked_child_is_refused():
    program = """
import os
from caffe_spn.cuda import runtime
from caffe_spn.errors import DeviceError
from tests.cuda.host_driver import HostDriver

runtime.install(HostDriver())
gpu = runtime.runtime()
array = gpu.array((3,))
child = os.fork()
if not child:
    for use in (lambda: gpu.zero(array), lambda: gpu.array((4,)), runtime.open_device):
        try:
            use()
        except DeviceError as error:
            print(error, flush=True)
    del array
    print(gpu.driver.calls[-1], flush=True)
    raise SystemExit
os.waitpid(child, 0)
gpu.zero(array)
print("parent", gpu.driver.calls[-1], flush=True)
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=100
    )
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[0].startswith("the GPU was opened before this process was forked")
    assert "spawn" in lines[1]
    assert lines[::2][:3] == [lines[0]] * 3
    assert lines[6] == "('abandon',)"
    assert lines[7].startswith("parent ('allocate'")


def test_at_exit_the_device_is_left_as_it_is():
    program = """
from caffe_spn.cuda import runtime
from tests.cuda.host_driver import HostDriver

class Loud(HostDriver):
    def settle(self):
        print("settled")

    def abandon(self):
        print("abandoned", len(self.blocks))

runtime.install(Loud())
kept = runtime.runtime().array((3,))
runtime.runtime().before_close.append(lambda gpu: print("nobody needs this at the end"))
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=100
    )
    assert (result.stdout, result.stderr) == ("settled\nabandoned 1\n", "")
