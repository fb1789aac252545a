"""Memory that is on the host and on the device, and knows which of the two is newer.

Source: `SyncedMemory` of BVLC Caffe.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable

import numpy as np

# All that has an array on a device, so that closing the device loses nothing.
_on_device: weakref.WeakSet[SyncedMemory] = weakref.WeakSet()

# Called before memory is read on the host, while a CUDA graph is captured.
before_host_read: Callable[[], None] | None = None


class SyncedMemory:
    """A flat array that blobs may share, on each side allocated (with zeros) at the first touch.

    Parameters
    ----------
    capacity : int
        Elements.
    dtype : numpy dtype

    Attributes
    ----------
    host_ahead, device_ahead : int
        How many elements, from the first on, one side may have newer than the other. At most one
        of the two is not 0; both are 0 where the sides agree, or none was ever touched. Caffe's
        states are these: HEAD_AT_CPU, HEAD_AT_GPU, SYNCED and UNINITIALIZED.

    Notes
    -----
    A blob that was made smaller uses the first elements of its memory only, and only what one
    side has newer is copied to the other.

    Nets that share weights may run in several threads, of either mode, as long as none writes: what
    moves between the sides is moved by one thread, and the others wait.
    """

    __slots__ = (
        "__weakref__",
        "_device",
        "_gpu",
        "_host",
        "_moving",
        "capacity",
        "device_ahead",
        "dtype",
        "host_ahead",
    )

    def __init__(self, capacity: int, dtype: np.dtype):
        self.capacity = capacity
        self.dtype = dtype
        self._host: np.ndarray | None = None
        self._device = None
        self._gpu = None  # the Runtime that the array is on
        self.host_ahead = self.device_ahead = 0
        self._moving = threading.RLock()

    # On the host

    @property
    def host(self) -> np.ndarray:
        """The array on the host, to read: what the device has newer is copied first."""
        if before_host_read is not None:
            before_host_read()
        self._make_host()
        if self.device_ahead:
            self._fetch()
        return self._host

    def write_on_host(self, count: int) -> None:
        """Make ready for the first `count` elements to be read and written on the host."""
        self._make_host()
        if self.device_ahead:
            self._fetch()
        self.host_ahead = max(self.host_ahead, count)

    def _make_host(self) -> None:
        if self._host is None:
            with self._moving:
                if self._host is None:
                    self._host = np.zeros(self.capacity, self.dtype)

    def _fetch(self) -> None:
        """Bring what the device has newer to the host, where somebody wants to read it."""
        from caffe_spn.cuda.faults import raise_found

        self._download()
        raise_found()

    def _download(self) -> None:
        with self._moving:
            ahead = self.device_ahead
            if not ahead:
                return
            self._make_host()
            self._gpu.download(self._host[:ahead], self._device.part(0, (ahead,)))
            self.device_ahead = 0

    # On the device

    @property
    def device(self):
        """The DeviceArray, to read: what the host has newer is copied first."""
        if self._device is None:
            self._allocate(zero=True)
        if self.host_ahead:
            self._upload()
        self._note("read")
        return self._device

    def _note(self, how: str, count: int = 0) -> None:
        # For CUDA graphs, which do to memory what was once done to it.
        watcher = self._gpu.watcher
        if watcher is not None:
            watcher.accessed(self, how, count)

    def written_on_device(self, count: int):
        """The DeviceArray, whose first `count` elements will be read and written."""
        device = self.device
        self.device_ahead = max(self.device_ahead, count)
        self._note("written", count)
        return device

    def new_on_device(self, count: int):
        """The DeviceArray, whose first `count` elements will all be overwritten."""
        if self._device is None:
            self._allocate(zero=count < self.capacity)
        if self.host_ahead > count:
            # The elements behind those are newest on the host, and would be forgotten.
            self._upload()
        self.host_ahead = 0
        self.device_ahead = max(self.device_ahead, count)
        self._note("new", count)
        return self._device

    def again(self, how: str, count: int) -> None:
        """What `device`, `written_on_device` or `new_on_device` does, for a graph's repetition."""
        if how == "read":
            self.device  # noqa: B018 (copies up)
        elif how == "written":
            self.written_on_device(count)
        else:
            self.new_on_device(count)

    @property
    def device_as_it_is(self):
        """The DeviceArray as it is, or None; nothing is copied."""
        return self._device

    def adopt(self, array) -> None:
        """Use the memory of a DeviceArray with `capacity` elements from now on; it is newest."""
        self._enter_device()
        self._device = array.reshaped(self.capacity)
        self.host_ahead, self.device_ahead = 0, self.capacity

    @property
    def on_device(self) -> bool:
        """Whether there is an array on the device."""
        return self._device is not None

    def _allocate(self, zero: bool) -> None:
        with self._moving:
            if self._device is not None:
                return
            self._enter_device()
            device = self._gpu.array((self.capacity,), self.dtype)
            if zero:
                self._gpu.zero(device)
            self._device = device

    def _enter_device(self) -> None:
        from caffe_spn.cuda.runtime import runtime

        self._gpu = runtime()
        _on_device.add(self)
        if _leave_device not in self._gpu.before_close:
            self._gpu.before_close.append(_leave_device)

    def _upload(self) -> None:
        from caffe_spn.cuda.device.staging import upload

        with self._moving:
            ahead = self.host_ahead
            if ahead:
                upload(self._gpu, self._device.part(0, (ahead,)), self._host[:ahead])
                self.host_ahead = 0

    def leave_device(self) -> None:
        """Bring what is newer on the device to the host, and give the device's memory back."""
        if self.device_ahead:
            self._download()
        # Another device would begin with zeros.
        self.host_ahead = 0 if self._host is None else self.capacity
        self._device = self._gpu = None
        _on_device.discard(self)

    # Both

    def zero(self, count: int) -> None:
        """Set the first `count` elements to 0 where they are; nothing is copied between sides."""
        if self._device is not None:
            if self._gpu.watcher is not None:
                self._gpu.watcher.refuse("setting a blob to zero")
            self._gpu.zero(self._device.part(0, (count,)))
        if self.device_ahead:
            # The device computes with it; the host's copy is old anyway.
            self.device_ahead = max(self.device_ahead, count)
            return
        if self._host is not None:
            self._host[:count] = 0
        if self.host_ahead <= count and self._device is not None:
            self.host_ahead = 0

    @property
    def nbytes(self) -> int:
        """Bytes that are really allocated on the host."""
        return 0 if self._host is None else self._host.nbytes


def _leave_device(gpu) -> None:
    """Bring all memory on a device that will be closed to the host."""
    for memory in list(_on_device):
        if memory._gpu is gpu:
            memory.leave_device()
