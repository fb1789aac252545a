"""What every use of an opened device goes through: its context, its stream, and who watches."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.device.devices import checked
from caffe_spn.cuda.device.driver import DeviceInfo, DeviceLost, Driver
from caffe_spn.errors import DeviceError

if TYPE_CHECKING:
    from caffe_spn.cuda.device.graphs import Record


class OpenedDevice:
    """A device's context, which threads enter, and the stream that they compute on.

    `caffe_spn.cuda.device.opened.Runtime` adds what is done there. Parameters as there.
    """

    def __init__(self, driver: Driver, ordinal: int):
        self.driver = driver
        self.device: DeviceInfo = checked(driver.devices(), ordinal)
        driver.open(ordinal)
        self._ended: str | None = None
        self._thread = _OfThread()
        self._thread.entered = True
        try:
            self._stream = driver.new_stream()
        except DeviceError:  # the context is broken, since an earlier loss
            driver.abandon()
            raise

    @property
    def closed(self) -> bool:
        """Whether it was closed, here or by the process that this one was forked from."""
        return self._ended is not None

    def enter(self) -> None:
        """Make the device usable in this thread.

        Raises
        ------
        DeviceError
            After `close`, in a child process made by fork, and when the device was lost.
        """
        if self._ended is not None or self.driver.lost is not None:
            raise self._refusal()
        if not self._thread.entered:
            self.driver.enter_thread()
            self._thread.entered = True

    def _refusal(self) -> DeviceError:
        if self.driver.lost is not None:
            return DeviceLost.by(self.driver.lost)
        if self._ended == "forked":
            return DeviceError(
                "the GPU was opened before this process was forked; it cannot be used here",
                help="open the device (set_mode_gpu) in the child only, or start children with"
                " multiprocessing.get_context('spawn')",
            )
        return DeviceError(f"{self.device.name} was closed", help="call set_mode_gpu() again")

    def _enter_now(self, what: str) -> None:
        """Enter for something that cannot be part of a graph."""
        self.enter()
        if self._thread.watcher is not None:
            self._thread.watcher.refuse(what)

    @property
    def stream(self):
        watcher = self._thread.watcher
        return self._stream if watcher is None or watcher.stream is None else watcher.stream

    @property
    def main_stream(self):
        """What `stream` is while no graph is captured."""
        return self._stream

    @property
    def watcher(self):
        """What writes down what this thread enqueues; see `caffe_spn.cuda.device.graphs`."""
        return self._thread.watcher

    @watcher.setter
    def watcher(self, record) -> None:
        self._thread.watcher = record


class _OfThread(threading.local):
    """What a thread has of the runtime."""

    entered = False
    scratch: DeviceArray | None = None
    watcher: Record | None = None
