"""A driver whose device is the host's memory: for tests of what stands above drivers."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from caffe_spn.cuda import runtime
from caffe_spn.cuda.device.driver import DeviceInfo, Driver, OutOfDeviceMemory
from caffe_spn.cuda.device.opened import Runtime


class Named:
    """A stream, an event or a kernel: a name, and what else is asked of it."""

    def __init__(self, name: str):
        self.name = name
        self.handle = id(self)


class HostDriver(Driver):
    """Two devices, and one of an architecture that is too old.

    Attributes
    ----------
    limit : int
        Bytes of the device.
    blocks : dict
        Memory by address.
    calls : list
        What was done, in order.
    """

    name = "host"

    def __init__(self, limit: int = 1 << 20):
        self.limit = limit
        self.blocks: dict[int, object] = {}
        self.calls: list = []

    def called(self, name: str) -> list:
        """The calls of one function."""
        return [call for call in self.calls if call[0] == name]

    def devices(self):
        return [
            DeviceInfo(i, f"Host {i}", capability, self.limit, 2, 100_000)
            for i, capability in enumerate([(7, 5), (9, 0), (6, 1)])
        ]

    def open(self, ordinal):
        self.calls.append(("open", ordinal))

    def enter_thread(self):
        self.calls.append(("enter_thread",))

    def close(self):
        self.calls.append(("close",))

    def abandon(self):
        self.calls.append(("abandon",))

    def memory_info(self):
        return self.limit - sum(map(len, self.blocks.values())), self.limit

    def allocate(self, nbytes):
        self.calls.append(("allocate", nbytes))
        if nbytes > self.memory_info()[0]:
            raise OutOfDeviceMemory("no room")
        memory = ctypes.create_string_buffer(nbytes)
        self.blocks[ctypes.addressof(memory)] = memory
        return ctypes.addressof(memory)

    def free(self, address):
        self.calls.append(("free", len(self.blocks.pop(address))))

    def pinned(self, shape, dtype):
        return np.empty(shape, dtype)

    def to_device(self, address, array, stream=None):
        ctypes.memmove(address, array.ctypes.data, array.nbytes)

    def to_host(self, array, address, stream=None):
        ctypes.memmove(array.ctypes.data, address, array.nbytes)

    def copy(self, target, source, nbytes, stream):
        ctypes.memmove(target, source, nbytes)

    def fill(self, address, byte, nbytes, stream):
        ctypes.memset(address, byte, nbytes)

    def load(self, source, options=()):
        self.calls.append(("load", source, options))
        return source

    def function(self, module, name):
        self.calls.append(("function", module, name))
        return Named(name)

    def launch(self, function, grid, block, arguments, shared, stream):
        self.calls.append(("launch", function.name, grid, block, arguments, shared))

    def new_stream(self):
        return Named("stream")

    def new_event(self, timing=False):
        return Named("event")

    def record(self, event, stream):
        self.calls.append(("record", event, stream))

    def wait(self, stream, event):
        self.calls.append(("wait", stream, event))

    def elapsed(self, start, end):
        return 0.0

    def synchronize(self, what=None):
        self.calls.append(("synchronize", what))


@contextmanager
def opened(driver: Driver | None) -> Iterator[Runtime | None]:
    """Compute with a driver, or None for no device, and afterwards as before."""
    before = runtime.install(driver)
    try:
        yield None if driver is None else runtime.runtime()
    finally:
        runtime.restore(before)


def on_device(gpu, array):
    """What lies on the device now, whatever blobs think; it is not counted as a download."""
    found = np.empty(array.shape, array.dtype)
    gpu.driver.to_host(found, array.address)
    return found


def compute(gpu, array, value):
    """Stands for a kernel that writes `array`; nothing is counted as an upload."""
    gpu.driver.to_device(array.address, np.full(array.shape, value, array.dtype))
