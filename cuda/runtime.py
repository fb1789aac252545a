"""The opened device: its memory, streams and programs.

One process uses one device. `open_device` opens it, `runtime` returns it.

    from caffe_spn.cuda.runtime import runtime

    gpu = runtime()
    y = gpu.array((n,))
    gpu.launch("divide.cu", "divide_forward", blocks(n), THREADS, x, y, n, 1.0)
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Sequence

import numpy as np

from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.driver import DeviceInfo, Driver, OutOfDeviceMemory
from caffe_spn.errors import DeviceError

# Threads of a block, and the most blocks, of kernels that stride over all elements.
THREADS = 256
MOST_BLOCKS = 132 * 16


def blocks(count: int) -> int:
    """Blocks of `THREADS` for a kernel that strides over `count` elements."""
    return max(1, min(-(-count // THREADS), MOST_BLOCKS))


class Runtime:
    """A device that was opened.

    Parameters
    ----------
    driver : Driver
    ordinal : int

    Attributes
    ----------
    device : DeviceInfo
    stream
        What all layers compute on, in order.
    before_close : list of callables
        Called with the runtime before the device is released, by those who have arrays on it.
    launches, uploads, downloads : int
        Kernels launched; copies of arrays to and from the device. For tests and benchmarks.
    """

    def __init__(self, driver: Driver, ordinal: int):
        self.driver = driver
        found = driver.devices()
        if not 0 <= ordinal < len(found):
            raise DeviceError(
                f"device {ordinal} was asked for; "
                + (f"there are {len(found)}, numbered from 0" if found else "there is none"),
                help="`caffe-spn device_query` lists them",
            )
        self.device: DeviceInfo = found[ordinal]
        driver.open(ordinal)
        self._process = os.getpid()
        self._thread = threading.local()
        self._thread.entered = True
        self._functions: dict = {}
        self._modules: dict = {}
        self._scratch: DeviceArray | None = None
        self.libraries: dict[str, object] = {}
        self.before_close: list[Callable[[Runtime], None]] = []
        self.stream = driver.new_stream()
        self.launches = self.uploads = self.downloads = 0

    def enter(self) -> None:
        """Make the device usable in this thread.

        Raises
        ------
        DeviceError
            In a child process made by fork: a context does not survive it.
        """
        if os.getpid() != self._process:
            raise DeviceError(
                "the GPU was opened before this process was forked; it cannot be used here",
                help="open the device (set_mode_gpu) in the child only, or start children with"
                " multiprocessing.get_context('spawn')",
            )
        if not getattr(self._thread, "entered", False):
            self.driver.enter_thread()
            self._thread.entered = True

    # Memory

    def array(self, shape: Sequence[int], dtype=np.float32) -> DeviceArray:
        """A new array; its content is whatever was there.

        Raises
        ------
        OutOfDeviceMemory
            With what was asked for and what is free.
        """
        count = math.prod(shape)
        nbytes = max(1, count * np.dtype(dtype).itemsize)
        self.enter()
        return DeviceArray(self._allocate(nbytes), shape, dtype, owner=None)

    def _allocate(self, nbytes: int) -> int:
        try:
            return self.driver.allocate(nbytes)
        except OutOfDeviceMemory as error:
            free, total = self.driver.memory_info()
            raise OutOfDeviceMemory(
                f"out of memory on {self.device.name}: {nbytes} bytes were asked for, {free} of"
                f" {total} are free",
                help="use a smaller batch or image; set_mode_cpu() still works",
            ) from error

    def scratch(self, nbytes: int) -> DeviceArray:
        """Work space that all layers share: valid until the next call from anywhere."""
        if self._scratch is None or self._scratch.nbytes < nbytes:
            self._scratch = None
            self._scratch = self.array((nbytes,), np.uint8)
        return self._scratch

    def upload(self, target: DeviceArray, source: np.ndarray) -> None:
        """Copy a C-contiguous array of the same size and type to the device."""
        self.enter()
        self.uploads += 1
        self.driver.to_device(target.address, source)

    def download(self, target: np.ndarray, source: DeviceArray) -> None:
        """Copy from the device, after all that was enqueued so far."""
        self.enter()
        self.downloads += 1
        self.driver.synchronize(self.stream)
        self.driver.to_host(target, source.address)

    def copy(self, target: DeviceArray, source: DeviceArray) -> None:
        """Copy within the device."""
        self.driver.copy(target.address, source.address, source.nbytes, self.stream)

    def zero(self, target: DeviceArray) -> None:
        """Set every byte to 0."""
        self.driver.fill(target.address, 0, target.nbytes, self.stream)

    # Kernels

    def launch(
        self,
        source: str,
        kernel: str,
        grid: int | tuple[int, ...],
        block: int | tuple[int, ...],
        *arguments,
        shared: int = 0,
        options: tuple[str, ...] = (),
    ) -> None:
        """Enqueue a kernel of ``cuda/<source>`` on the runtime's stream.

        Arguments: a DeviceArray passes its address, None a null pointer, int and bool a C int,
        float a C float, a NumPy scalar itself.
        """
        self.enter()
        function = self.function(source, kernel, options)
        self.launches += 1
        self.driver.launch(
            function,
            _three(grid),
            _three(block),
            [_argument(a) for a in arguments],
            shared,
            self.stream,
        )

    def function(self, source: str, kernel: str, options: tuple[str, ...] = ()):
        """A kernel, compiled at the first use."""
        key = (source, kernel, options)
        if key not in self._functions:
            module = self._modules.get((source, options))
            if module is None:
                module = self._modules[source, options] = self.driver.load(source, options)
            self._functions[key] = self.driver.function(module, kernel)
        return self._functions[key]

    def library(self, name: str):
        """NVIDIA's library "cublas" or "cudnn", opened on this device at the first use.

        Raises
        ------
        DeviceError
            If it is not there, or cannot be used; what to install.
        """
        if name not in self.libraries:
            from caffe_spn.cuda.libraries import open_library

            self.enter()
            self.libraries[name] = open_library(name, self)
        return self.libraries[name]

    def synchronize(self) -> None:
        """Wait for everything that was enqueued."""
        self.enter()
        self.driver.synchronize(self.stream)

    def close(self) -> None:
        """Release the device."""
        for callback in self.before_close:
            callback(self)
        for library in self.libraries.values():
            library.close()
        self.libraries.clear()
        self._scratch = None
        self.driver.close()


def _three(size) -> tuple[int, int, int]:
    size = (size,) if isinstance(size, (int, np.integer)) else tuple(size)
    return (*size, 1, 1)[:3]


def _argument(value) -> np.generic:
    if isinstance(value, DeviceArray):
        return np.uint64(value.address)
    if value is None:
        return np.uint64(0)
    if isinstance(value, (bool, int)):
        return np.int32(value)
    if isinstance(value, float):
        return np.float32(value)
    return value


_runtime: Runtime | None = None


def runtime() -> Runtime:
    """The device that was opened.

    Raises
    ------
    DeviceError
        If none was.
    """
    if _runtime is None:
        raise DeviceError("no GPU is open", help="call caffe_spn.set_mode_gpu() first")
    return _runtime


def is_open() -> bool:
    """Whether a device is open."""
    return _runtime is not None


def install(driver: Driver | None, ordinal: int = 0) -> Runtime | None:
    """Compute with a driver of one's own, as the tests do; None for no device.

    Returns
    -------
    Runtime or None
        What was open before, for `restore`.
    """
    global _runtime
    before = _runtime
    _runtime = None if driver is None else Runtime(driver, ordinal)
    return before


def restore(before: Runtime | None) -> None:
    """Close what `install` opened, and go on with what was open before."""
    global _runtime
    installed, _runtime = _runtime, before
    if installed is not None and installed is not before:
        installed.close()


def open_device(ordinal: int = 0) -> Runtime:
    """Open a device of the CUDA driver; one that is open already stays.

    Raises
    ------
    DeviceError
        If PyCUDA, the driver or the device is missing, or another device is in use.
    """
    global _runtime
    if _runtime is not None and _runtime.device.ordinal == ordinal:
        _runtime.enter()
        return _runtime
    from caffe_spn.cuda.pycuda_driver import PyCudaDriver

    close_device()
    _runtime = Runtime(PyCudaDriver(), ordinal)
    return _runtime


def close_device() -> None:
    """Close the device that is open, if one is; arrays on it can no longer be used."""
    global _runtime
    if _runtime is not None:
        closing, _runtime = _runtime, None
        closing.close()
