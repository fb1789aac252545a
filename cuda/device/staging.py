"""Uploads for which the host does not wait.

A copy from ordinary memory makes the host wait until the device has done all that was enqueued, so
that a training step could not be enqueued while the last one still runs. Here the array is copied
to page-locked memory first, from where the device takes it when its turn comes; the array may
change at once.
"""

from __future__ import annotations

import threading
import weakref
from itertools import cycle

import numpy as np

from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.device.opened import Runtime

# Page-locked memory is a scarce thing: so many buffers, each of at most so many bytes.
BUFFERS = 4
MOST_BYTES = 64 << 20

_staging: weakref.WeakKeyDictionary[Runtime, Staging] = weakref.WeakKeyDictionary()


def upload(gpu: Runtime, target: DeviceArray, source: np.ndarray) -> None:
    """Copy a C-contiguous array of the same size and type to the device, in the stream's order.

    Parameters
    ----------
    gpu : Runtime
    target : DeviceArray
    source : ndarray
        Whoever changes it afterwards changes nothing on the device. What is larger than
        `MOST_BYTES` is waited for.
    """
    if not 0 < source.nbytes <= MOST_BYTES:
        gpu.upload(target, source)
        return
    if gpu not in _staging:
        _staging[gpu] = Staging(gpu)
    _staging[gpu].upload(target, source)


class Staging:
    """A few page-locked buffers of a device, used in turn."""

    def __init__(self, gpu: Runtime):
        # The runtime owns this by way of `_staging`; the other way round it would live for ever.
        self._gpu = weakref.ref(gpu)
        self._lock = threading.Lock()
        self._turns = cycle([Buffer() for _ in range(BUFFERS)])

    def upload(self, target: DeviceArray, source: np.ndarray) -> None:
        gpu = self._gpu()
        with self._lock:
            buffer = next(self._turns)
            memory = buffer.free(gpu, source.nbytes)[: source.nbytes]
            memory = memory.view(source.dtype).reshape(source.shape)
            memory[...] = source
            gpu.upload(target, memory, gpu.stream)
            gpu.record(buffer.taken)


class Buffer:
    """Page-locked memory, and the event that tells when the device has taken its content."""

    def __init__(self):
        self._memory: np.ndarray | None = None
        self.taken = None

    def free(self, gpu: Runtime, nbytes: int) -> np.ndarray:
        """The bytes, at least so many, once nobody reads them any more."""
        if self.taken is None:
            self.taken = gpu.event()
        else:
            gpu.synchronize(self.taken)
        if self._memory is None or self._memory.nbytes < nbytes:
            # Twice as much as asked for now, so that batches that grow do not allocate each time.
            self._memory = None
            self._memory = gpu.pinned((min(2 * nbytes, MOST_BYTES),), np.uint8)
        return self._memory
