"""A device that was opened: its memory, streams and programs. `runtime.open_device` makes it."""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.device.devices import checked, megabytes
from caffe_spn.cuda.device.driver import DeviceInfo, DeviceLost, Driver, OutOfDeviceMemory
from caffe_spn.cuda.device.memory import Pool
from caffe_spn.cuda.device.programs import Arguments, Programs, three
from caffe_spn.errors import DeviceError, ShapeError

if TYPE_CHECKING:
    from caffe_spn.cuda.device.graphs import Record

# All that were made, for what must be done after a fork and at the end.
every_runtime: weakref.WeakSet[Runtime] = weakref.WeakSet()


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
        What all layers compute on, in order; while this thread captures a graph, the graph's.
    memory : Pool
        What arrays are allocated from.
    before_close : list of callables
        Called with the runtime before the device is released, by those who have arrays on it.
    launches, graph_launches, uploads, downloads, uploaded_bytes, downloaded_bytes : int
        Kernels launched (a product or convolution by a library counts as one), also by graphs;
        graphs launched; copies of arrays to and from the device. For tests and benchmarks.

    Raises
    ------
    DeviceError
        If there is no such device, or its architecture is too old.
    """

    def __init__(self, driver: Driver, ordinal: int):
        self.driver = driver
        self.device: DeviceInfo = checked(driver.devices(), ordinal)
        driver.open(ordinal)
        self._ended: str | None = None
        self._thread = _OfThread()
        self._thread.entered = True
        self._copy_stream = None
        self.memory = Pool(driver)
        self.programs = Programs(driver)
        self.libraries: dict[str, object] = {}
        self.before_close: list[Callable[[Runtime], None]] = []
        try:
            self._stream = driver.new_stream()
        except DeviceError:  # the context is broken, since an earlier loss
            driver.abandon()
            raise
        self.launches = self.graph_launches = self.uploads = self.downloads = 0
        self.uploaded_bytes = self.downloaded_bytes = 0
        every_runtime.add(self)

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

    # Memory

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

    def _enter_now(self, what: str) -> None:
        """Enter for something that cannot be part of a graph."""
        self.enter()
        if self._thread.watcher is not None:
            self._thread.watcher.refuse(what)

    # Streams

    @property
    def stream(self):
        watcher = self._thread.watcher
        return self._stream if watcher is None or watcher.stream is None else watcher.stream

    @property
    def main_stream(self):
        """What `stream` is while no graph is captured."""
        return self._stream

    def _entered(self, stream):
        """A stream, or the one that is computed on, for an event: no graph contains any."""
        self.enter()
        watcher = self._thread.watcher
        if watcher is not None and (stream is None or stream is watcher.stream):
            watcher.refuse("an event")
        return self.stream if stream is None else stream

    @property
    def watcher(self):
        """What writes down what this thread enqueues; see `caffe_spn.cuda.device.graphs`."""
        return self._thread.watcher

    @watcher.setter
    def watcher(self, record) -> None:
        self._thread.watcher = record

    @property
    def copy_stream(self):
        """A second stream, for copies that run beside the computation."""
        if self._copy_stream is None:
            self.enter()
            self._copy_stream = self.driver.new_stream()
        return self._copy_stream

    def event(self, timing: bool = False):
        """An event, for `record` and `wait`; keep it and use it again."""
        self.enter()
        return self.driver.new_event(timing)

    def record(self, event, stream=None) -> None:
        """Let `event` happen when what is enqueued so far (on `self.stream`) is done."""
        self.driver.record(event, self._entered(stream))

    def wait(self, event, stream=None) -> None:
        """Let what is enqueued from now on (on `self.stream`) wait for `event`; returns at once."""
        self.driver.wait(self._entered(stream), event)

    def synchronize(self, what=None) -> None:
        """Wait for a stream or an event; by default for all that was enqueued on `self.stream`."""
        self._enter_now("waiting")
        self.driver.synchronize(self.stream if what is None else what)

    # Kernels and libraries

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
        function = self.programs.function(source, kernel, options)
        self.launches += 1
        stream, watcher = self._stream, self._thread.watcher
        if watcher is not None:
            watcher.enqueued(source, kernel, options, grid, block, shared, *arguments)
            stream = watcher.stream or stream
        self.driver.launch(
            function,
            three(grid),
            three(block),
            Arguments(arguments),
            shared,
            stream,
        )

    def launch_graph(self, graph) -> None:
        """Enqueue a graph of the driver's on the runtime's stream."""
        self.enter()
        self.graph_launches += 1
        self.driver.launch_graph(graph, self._stream)

    def function(self, source: str, kernel: str, options: tuple[str, ...] = ()):
        """A kernel, compiled at the first use."""
        self.enter()
        return self.programs.function(source, kernel, options)

    def library(self, name: str):
        """NVIDIA's library "cublas" or "cudnn", opened on this device at the first use.

        Raises
        ------
        DeviceError
            If it is not there, or cannot be used; what to install.
        """
        if name not in self.libraries:
            from caffe_spn.cuda.nvidia.libraries import open_library

            self.enter()
            self.libraries[name] = open_library(name, self)
        return self.libraries[name]

    def close(self) -> None:
        """Release the device; its arrays can no longer be used.

        Those who have arrays on the device bring what they need to the host before.
        """
        if self._ended is not None:
            return
        if self.driver.lost is not None:
            self.abandon("lost")
            return
        self.enter()
        for callback in self.before_close:
            callback(self)
        self._ended = "closed"
        self.driver.settle()
        self._thread.scratch = None
        try:
            for library in self.libraries.values():
                library.close()
            self.libraries.clear()
            self.memory.close()
            # What belongs to the context goes before it.
            self.programs = Programs(self.driver)
            self._stream = self._copy_stream = None
        finally:
            self.driver.close()

    def abandon(self, why: str) -> None:
        """Use the device no more, and touch nothing of it, not even to give it back.

        Parameters
        ----------
        why : str
            "lost", "forked" or "closed" (by the end of the process).
        """
        if self._ended is None:
            self._ended = why
            self.driver.abandon()


class _OfThread(threading.local):
    """What a thread has of the runtime."""

    entered = False
    scratch: DeviceArray | None = None
    watcher: Record | None = None


def _check_copy(device: DeviceArray, host: np.ndarray) -> None:
    if device.size != host.size or device.dtype != host.dtype or not host.flags.c_contiguous:
        order = "" if host.flags.c_contiguous else ", not C-contiguous"
        raise ShapeError(
            f"nothing is copied between a device array {device.shape} ({device.dtype}) and an array"
            f" {host.shape} ({host.dtype}{order})"
        )
