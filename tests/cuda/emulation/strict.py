"""A runtime without the economies that hide faults: no memory is reused, or larger than asked."""

from __future__ import annotations

import gc
import threading

import numpy as np

from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.device.driver import OutOfDeviceMemory
from caffe_spn.cuda.device.memory import Block, Pool
from caffe_spn.cuda.device.opened import Runtime


class ExactPool(Pool):
    """Each array is an allocation of its own, of its own size: it holds NaN and has guards."""

    def allocate(self, nbytes: int) -> Block:
        try:
            return self._allocate(max(1, nbytes), 0)
        except OutOfDeviceMemory:
            gc.collect()
            return self._allocate(max(1, nbytes), 0)

    def _take(self, size: int) -> None:
        return None


def make_strict(runtime: Runtime) -> None:
    """Give a runtime that has no arrays yet an `ExactPool`, and new scratch memory at each call."""
    runtime.memory = ExactPool(runtime.driver)
    of_thread = threading.local()

    def scratch(nbytes: int) -> DeviceArray:
        of_thread.scratch = runtime.array((nbytes,), np.uint8)
        return of_thread.scratch

    runtime.scratch = scratch
