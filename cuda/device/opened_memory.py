"""The memory of an opened device: arrays, work space, and copies."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.device.devices import megabytes
from caffe_spn.cuda.device.driver import Driver, OutOfDeviceMemory
from caffe_spn.cuda.device.memory import Pool
from caffe_spn.cuda.device.opened_base import OpenedDevice
from caffe_spn.errors import ShapeError


class OpenedMemory(OpenedDevice):
    """An opened device with arrays, of which copies are counted.

    Parameters and attributes as in `caffe_spn.cuda.device.opened.Runtime`.
    """

    def __init__(self, driver: Driver, ordinal: int):
        super().__init__(driver, ordinal)
        self.memory = Pool(driver)
        self.uploads = self.downloads = 0
        self.uploaded_bytes = self.downloaded_bytes = 0

    def array(self, shape: Sequence[int], dtype=np.float32) -> DeviceArray:
        """A new array; its content is whatever was there.

        Its memory is free again when the last array that shares it goes. An array that is used on
        another stream than `stream` must be kept until that work is done.

        Raises
        ------
        OutOfDeviceMemory
            With what was asked for and what is free.
        """
        self.enter()
        nbytes = math.prod(shape) * np.dtype(dtype).itemsize
        try:
            block = self.memory.allocate(nbytes)
        except OutOfDeviceMemory as error:
            raise self._no_room(nbytes) from error
        array = DeviceArray(block.address, shape, dtype, owner=block)
        watcher = self._thread.watcher
        if watcher is not None:
            watcher.allocated(array)
        return array

    def reserve(self, nbytes: int) -> int:
        """The address of memory beside that of arrays, for what stays while the device is open.

        The driver is to `free` it.

        Raises
        ------
        OutOfDeviceMemory
            As `array` does.
        """
        self.enter()
        try:
            return self.driver.allocate(nbytes)
        except OutOfDeviceMemory:
            self.memory.release_held()
        try:
            return self.driver.allocate(nbytes)
        except OutOfDeviceMemory as error:
            without_room = self._no_room(nbytes)
            without_room.fixed = nbytes
            raise without_room from error

    def _no_room(self, nbytes: int) -> OutOfDeviceMemory:
        free, total = self.driver.memory_info()
        return OutOfDeviceMemory(
            f"out of memory on {self.device.name}: {megabytes(nbytes)} were asked for;"
            f" {megabytes(free)} of {megabytes(total)} are free, and this process's arrays"
            f" hold {megabytes(self.memory.in_use)}",
            help="use a smaller batch or smaller images, or compute on the CPU"
            " (set_mode_cpu(), no --gpu)",
        )

    def scratch(self, nbytes: int) -> DeviceArray:
        """Work space that all layers share: valid until the next call from the same thread.

        Threads have one each, because what they enqueue is mixed. When it grows, the memory of the
        smaller one can serve others at once: what still computes in it was enqueued before.
        """
        scratch = self._thread.scratch
        if scratch is None or scratch.nbytes < nbytes:
            # The smaller one goes first: together they would be a peak.
            scratch = self._thread.scratch = None
            scratch = self._thread.scratch = self.array((nbytes,), np.uint8)
        watcher = self._thread.watcher
        if watcher is not None:
            watcher.allocated(scratch)
            watcher.scratch = scratch
        return scratch

    @property
    def current_scratch(self) -> DeviceArray | None:
        """This thread's work space as it is now."""
        return self._thread.scratch

    def drop_scratch(self) -> None:
        """Give up this thread's work space."""
        self._thread.scratch = None

    def pinned(self, shape: Sequence[int], dtype=np.float32) -> np.ndarray:
        """A page-locked array on the host, from and to which copies on a stream return at once."""
        self.enter()
        return self.driver.pinned(shape, dtype)

    def upload(self, target: DeviceArray, source: np.ndarray, stream=None) -> None:
        """Copy a C-contiguous array of the same size and type to the device.

        With a stream this returns before it is done, if `source` is page-locked.
        """
        self._enter_now("an upload")
        _check_copy(target, source)
        self.uploads += 1
        self.uploaded_bytes += source.nbytes
        self.driver.to_device(target.address, source, stream)

    def download(self, target: np.ndarray, source: DeviceArray, stream=None) -> None:
        """Copy from the device, after all that was enqueued so far.

        With a stream: after what was enqueued there, and this returns before it is done, if
        `target` is page-locked.
        """
        self._enter_now("a download")
        _check_copy(source, target)
        self.downloads += 1
        self.downloaded_bytes += target.nbytes
        self.driver.to_host(target, source.address, stream)

    def copy(self, target: DeviceArray, source: DeviceArray) -> None:
        """Copy within the device."""
        self.enter()
        if source.nbytes:
            self.driver.copy(target.address, source.address, source.nbytes, self.stream)

    def zero(self, target: DeviceArray) -> None:
        """Set every byte to 0."""
        self.enter()
        if target.nbytes:  # CUDA refuses to set none
            self.driver.fill(target.address, 0, target.nbytes, self.stream)


def _check_copy(device: DeviceArray, host: np.ndarray) -> None:
    if device.size != host.size or device.dtype != host.dtype or not host.flags.c_contiguous:
        order = "" if host.flags.c_contiguous else ", not C-contiguous"
        raise ShapeError(
            f"nothing is copied between a device array {device.shape} ({device.dtype}) and an array"
            f" {host.shape} ({host.dtype}{order})"
        )
