"""The context of the driver through PyCUDA: who may use it, and what its errors mean.

PyCUDA keeps a stack of contexts for each thread, ends the process if a thread ends before its stack
is empty, and frees things only where their context is current. So its stack holds the context only
inside a call that makes or frees something; for everything else the context is made current in the
thread by the CUDA driver itself.

Source: PyCUDA's reference; the CUDA driver API.
"""

from __future__ import annotations

import ctypes
import functools
import threading
import time
from contextlib import contextmanager

from caffe_spn.cuda.device.driver import DeviceInfo, DeviceLost, Driver, OutOfDeviceMemory
from caffe_spn.cuda.device.pycuda_import import import_driver, library
from caffe_spn.errors import DeviceError

# How long `settle` waits for other threads' calls.
MOST_SECONDS_TO_SETTLE = 10.0
# What waiting for a context that can still be used returns: nothing is wrong, it is not current in
# this thread, or (all from 900 on) a graph is being captured, when nobody may wait.
_NOT_LOST = (0, 201, *range(900, 910))


def through_pycuda(method):
    """Turn PyCUDA's errors in `method` into ours, and let `settle` wait until it has returned."""

    @functools.wraps(method)
    def call(self, *arguments):
        self._running.append(None)
        try:
            if self._settled not in (None, threading.get_ident()):
                raise DeviceError("the GPU was closed")
            return method(self, *arguments)
        except self.cuda.Error as error:
            raise self._translated(error) from error
        finally:
            self._running.pop()

    return call


class PyCudaContext(Driver):
    """The part of `PyCudaDriver` that opens a device, and closes it."""

    def __init__(self):
        self.cuda = import_driver()
        self._library = library()
        self._context = None
        # An entry for each call that has not returned.
        self._running: list = []
        self._settled: int | None = None  # the thread that may still call
        self._last_kernel: str | None = None

    @through_pycuda
    def devices(self):
        return [self._describe(ordinal) for ordinal in range(self.cuda.Device.count())]

    def _describe(self, ordinal: int) -> DeviceInfo:
        device = self.cuda.Device(ordinal)
        attribute = self.cuda.device_attribute
        return DeviceInfo(
            ordinal,
            device.name(),
            tuple(device.compute_capability()),
            device.total_memory(),
            device.get_attribute(attribute.MULTIPROCESSOR_COUNT),
            device.get_attribute(attribute.MAX_SHARED_MEMORY_PER_BLOCK_OPTIN),
        )

    @through_pycuda
    def open(self, ordinal):
        device = self.cuda.Device(ordinal)
        self._capability = tuple(device.compute_capability())
        self._context = device.retain_primary_context()
        self.enter_thread()

    def enter_thread(self):
        code = self._library.cuCtxSetCurrent(ctypes.c_void_p(self._context.handle))
        if code:
            raise DeviceError(f"the GPU cannot be used in this thread: CUDA error {code}")

    @contextmanager
    def _pushed(self):
        """PyCUDA's stack of this thread holds the context."""
        self._context.push()
        try:
            yield
        finally:
            self.cuda.Context.pop()

    def settle(self):
        # Where Python ends while another thread is in a call of PyCUDA, the process is aborted.
        self._settled = threading.get_ident()
        end = time.monotonic() + MOST_SECONDS_TO_SETTLE
        while self._running and time.monotonic() < end:
            time.sleep(0.001)

    def close(self):
        if self._context is None:
            return
        context, self._context = self._context, None
        try:
            context.push()
        except self.cuda.Error:
            self.abandon(context)
            return
        self._free_all()
        # Releases the context, and takes it from PyCUDA's stack.
        context.detach()
        self._library.cuCtxSetCurrent(None)

    def _free_all(self) -> None:
        """Free what was made in the context, which is current."""

    def abandon(self, context=None):
        # Destroying PyCUDA's objects would use the context, fail, and end the process: they stay,
        # and so does whatever refers to them.
        everything = (self, context, dict(self.__dict__))
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(everything))

    # Errors

    def _translated(self, error, where: str = "") -> DeviceError:
        """Our error for one of PyCUDA's, which tells more than its class: it has no number."""
        if isinstance(error, self.cuda.MemoryError):
            return OutOfDeviceMemory(str(error))
        if self.lost is None and self._context is not None and self._is_lost():
            self.lost = f"{error}{where}"
            if self._last_kernel is not None:
                self.lost += f"; the last kernel that was launched before is {self._last_kernel}"
        return DeviceError(str(error)) if self.lost is None else DeviceLost.by(self.lost)

    def _is_lost(self) -> bool:
        # An error that makes the context unusable is one that every later call repeats.
        return self._library.cuCtxSynchronize() not in _NOT_LOST
