"""The opened device: what it refuses, and how it ends."""

import os
import subprocess
import sys

import pytest

from caffe_spn.cuda import runtime
from caffe_spn.cuda.device.devices import checked
from caffe_spn.cuda.device.driver import DeviceLost
from caffe_spn.cuda.runtime import blocks
from caffe_spn.errors import DeviceError
from tests.cuda.host_driver import HostDriver, opened


@pytest.fixture
def driver():
    return HostDriver()


@pytest.fixture
def gpu(driver):
    with opened(driver) as gpu:
        yield gpu


@pytest.mark.parametrize("count, expected", [(0, 1), (1, 1), (256, 1), (257, 2), (2**31 - 1, 2112)])
def test_blocks(count, expected):
    assert blocks(count) == expected


# Opening


def test_without_a_device_says_how_to_open_one():
    with opened(None):
        assert not runtime.is_open()
        with pytest.raises(DeviceError, match=r"no GPU is open\n  help: call .*set_mode_gpu"):
            runtime.runtime()


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
    assert driver.called("close") == []
    runtime.restore(before)
    assert driver.called("close") == [("close",)]


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
    assert driver.called("close") == [("close",)]
    runtime.restore(before)


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
