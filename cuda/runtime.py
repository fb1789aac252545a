"""The opened device: its memory, streams and programs.

One process uses one device. `open_device` opens it, `runtime` returns it.

    from caffe_spn.cuda.runtime import runtime

    gpu = runtime()
    y = gpu.array((n,))
    gpu.launch("divide.cu", "divide_forward", blocks(n), THREADS, x, y, n, 1.0)
"""

from __future__ import annotations

import atexit
import gc
import os
import threading

from caffe_spn.cuda.device.devices import checked, megabytes
from caffe_spn.cuda.device.driver import Driver
from caffe_spn.cuda.device.opened import Runtime, every_runtime
from caffe_spn.errors import DeviceError

# Threads of a block, and the most blocks, of kernels that stride over all elements.
THREADS = 256
MOST_BLOCKS = 132 * 16


def blocks(count: int) -> int:
    """Blocks of `THREADS` for a kernel that strides over `count` elements."""
    return max(1, min(-(-count // THREADS), MOST_BLOCKS))


_runtime: Runtime | None = None
_opening = threading.RLock()


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
    installed = _runtime
    if installed is not None and installed is not before:
        installed.close()
    _runtime = before


def open_device(ordinal: int = 0) -> Runtime:
    """Open a device of the CUDA driver; one that is open already stays.

    Raises
    ------
    DeviceError
        If PyCUDA, the driver or the device is missing, or arrays are on another device.
    """
    global _runtime
    with _opening:
        if _runtime is not None and _runtime.device.ordinal == ordinal:
            _runtime.enter()
            return _runtime
        make = _pycuda
        if _runtime is not None:
            make = type(_runtime.driver)
            _leave(_runtime, ordinal)
        _runtime = Runtime(make(), ordinal)
        return _runtime


def _pycuda() -> Driver:
    from caffe_spn.cuda.device.pycuda_driver import PyCudaDriver

    return PyCudaDriver()


def _leave(old: Runtime, ordinal: int) -> None:
    """Close a device so that another can be opened, as Caffe's SetDevice; it must be empty."""
    old.enter()
    checked(old.driver.devices(), ordinal)
    old.drop_scratch()
    gc.collect()
    if old.memory.in_use:
        raise DeviceError(
            f"GPU {ordinal} was asked for; nets of this process have"
            f" {megabytes(old.memory.in_use)} on GPU {old.device.ordinal} ({old.device.name})",
            help="choose the device (set_device, --gpu) before the first net, or use one process"
            " for each device",
        )
    close_device()


def close_device() -> None:
    """Close the device that is open, if one is; arrays on it can no longer be used.

    Blobs bring what is newest on the device to the host.
    """
    global _runtime
    with _opening:
        closing, _runtime = _runtime, None
        if closing is not None:
            closing.close()


def _after_fork() -> None:
    global _opening
    _opening = threading.RLock()  # another thread may have held it
    for each in every_runtime:
        each.abandon("forked")


@atexit.register
def _at_exit() -> None:
    # The system takes all back in a moment. Threads that are still at work are not disturbed, but
    # have left the driver when Python itself ends: PyCUDA would abort the process.
    for each in list(every_runtime):
        if not each.closed:
            each.driver.settle()
            each.abandon("closed")


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_after_fork)
