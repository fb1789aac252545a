"""The mode of a thread, and the GPU of the process, without a GPU: see tests/cuda for one."""

import threading

import pytest

import caffe_spn
from caffe_spn import device
from caffe_spn.cuda import runtime
from caffe_spn.cuda.compiling.compiler_base import CompileError, CompilerUnusable
from caffe_spn.cuda.device.driver import DeviceLost, OutOfDeviceMemory
from caffe_spn.errors import DeviceError
from tests.cuda.host_driver import HostDriver


@pytest.fixture
def no_gpu(monkeypatch):
    """PyCUDA cannot be imported, whatever this machine has."""
    from caffe_spn.cuda.device import pycuda_import

    def fail():
        raise ImportError("libcuda.so.1: cannot open shared object file")

    before = runtime.install(None)
    monkeypatch.setattr(pycuda_import, "_import", fail)
    monkeypatch.setattr(device, "_failure", None)
    yield
    runtime.restore(before)


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(device, "_chosen", 0)
    before = runtime.install(HostDriver())
    yield runtime.runtime()
    caffe_spn.set_mode_cpu()
    runtime.close_device()
    runtime.restore(before)


def test_the_cpu_is_the_default():
    assert device.mode() == device.CPU
    caffe_spn.set_mode_cpu()
    assert device.mode() == device.CPU
    device.synchronize()


@pytest.mark.parametrize(
    "call", [caffe_spn.set_mode_gpu, lambda: caffe_spn.set_device(0)], ids=["mode", "device"]
)
def test_without_a_gpu(no_gpu, call):
    assert device.failure() is None
    with pytest.raises(RuntimeError, match=r"there is no NVIDIA driver \(libcuda") as error:
        call()
    assert "install NVIDIA's driver" in error.value.help
    assert device.failure() is error.value
    assert device.mode() == device.CPU


def test_the_mode_belongs_to_the_thread(gpu):
    caffe_spn.set_mode_gpu()
    seen = []

    def work():
        seen.append(device.mode())
        caffe_spn.set_mode_gpu()
        seen.append(device.mode())
        caffe_spn.set_mode_cpu()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [device.CPU, device.GPU]
    assert device.mode() == device.GPU
    caffe_spn.set_mode_cpu()
    assert device.mode() == device.CPU
    assert runtime.is_open()


def test_the_device_that_was_chosen(gpu):
    caffe_spn.set_device(1)
    assert device.mode() == device.CPU
    caffe_spn.set_mode_gpu()
    assert runtime.runtime().device.ordinal == 1
    kept = runtime.runtime().array((3,))
    with pytest.raises(DeviceError, match="GPU 0 was asked for; nets of this process"):
        caffe_spn.set_device(0)
    caffe_spn.set_mode_gpu()
    assert runtime.runtime().device.ordinal == 1
    assert kept.size == 3
    assert device.failure() is None


def test_a_device_that_is_not_there(gpu):
    with pytest.raises(DeviceError, match="GPU 7 was asked for; there are 3"):
        caffe_spn.set_device(7)
    caffe_spn.set_mode_gpu()
    assert runtime.runtime() is gpu


def test_synchronize_waits_for_the_gpu(gpu):
    caffe_spn.set_mode_gpu()
    device.synchronize()
    assert gpu.driver.calls[-1] == ("synchronize", gpu.stream)


def test_a_layers_place_can_be_added_to_each_error():
    # As a net does it.
    for kind in (OutOfDeviceMemory, DeviceLost, CompileError, CompilerUnusable):
        error = kind("what", "where", "help")
        assert (error.message, error.where, error.help) == ("what", "where", "help")
