"""A device that was opened: its streams, programs and libraries. `runtime.open_device` makes it."""

from __future__ import annotations

import weakref
from collections.abc import Callable

from caffe_spn.cuda.device.driver import Driver
from caffe_spn.cuda.device.opened_memory import OpenedMemory
from caffe_spn.cuda.device.programs import Arguments, Programs, three

# All that were made, for what must be done after a fork and at the end.
every_runtime: weakref.WeakSet[Runtime] = weakref.WeakSet()


class Runtime(OpenedMemory):
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
        super().__init__(driver, ordinal)
        self._copy_stream = None
        self.programs = Programs(driver)
        self.libraries: dict[str, object] = {}
        self.before_close: list[Callable[[Runtime], None]] = []
        self.launches = self.graph_launches = 0
        every_runtime.add(self)

    # Streams and events

    @property
    def copy_stream(self):
        """A second stream, for copies that run beside the computation."""
        if self._copy_stream is None:
            self.enter()
            self._copy_stream = self.driver.new_stream()
        return self._copy_stream

    def _entered(self, stream):
        """A stream, or the one that is computed on, for an event: no graph contains any."""
        self.enter()
        watcher = self._thread.watcher
        if watcher is not None and (stream is None or stream is watcher.stream):
            watcher.refuse("an event")
        return self.stream if stream is None else stream

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
