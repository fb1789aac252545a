"""CUDA graphs: what a pass enqueues is written down once, and launched as one thing afterwards.

A graph repeats the launches with the addresses and numbers that they had. So a pass is observed
first (`Record`), and captured only when it has enqueued the same several times; whoever launches a
graph sees to it that nothing has moved since. `caffe_spn.gpu_passes` does both for a net.

Source: the CUDA driver API, "Graph Management" and "Stream Management".
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np

from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.device.driver import DeviceLost
from caffe_spn.errors import DeviceError

_allowed: bool | None = None


def set_cuda_graphs(allowed: bool) -> None:
    """Let passes of a net that repeat themselves be launched as CUDA graphs, or not.

    Parameters
    ----------
    allowed : bool

    Notes
    -----
    It counts from the next pass on. The environment variable `CAFFE_SPN_CUDA_GRAPHS` (1 or 0) sets
    it for programs that do not call this.
    """
    global _allowed
    _allowed = bool(allowed)


def cuda_graphs() -> bool:
    """Whether graphs may be used."""
    if _allowed is not None:
        return _allowed
    return os.environ.get("CAFFE_SPN_CUDA_GRAPHS", "1") != "0"


class NotCaptured(Exception):
    """Why a pass cannot be a graph."""


class Record:
    """What a pass enqueues, and which memory it uses.

    Attributes
    ----------
    stream
        Where everything is enqueued while a graph is captured; None while a pass only is observed.
    accesses : dict
        (memory, how, count) of every access to a blob's memory, in order of the first; how is
        "read", "written" or "new", as the methods of `SyncedMemory` have it.
    writes : dict
        How often each memory was asked for to be written.
    watched : list of Layer
        Those that may have met a fault; see `caffe_spn.cuda.faults`.
    kept : list of DeviceArray
        While a graph is captured: what was allocated, and work space. It must stay.
    scratch : DeviceArray or None
        The work space that all layers share.
    """

    def __init__(self, stream=None):
        self.stream = stream
        self.accesses: dict[tuple, None] = {}
        self.writes: dict[object, int] = {}
        self.watched: list = []
        self.kept: list[DeviceArray] = []
        self.scratch: DeviceArray | None = None
        self._places: dict[int, tuple[int, int]] = {}
        self._allocations = 0
        self._trace: list[tuple] = []

    def accessed(self, memory, how: str, count: int = 0) -> None:
        self.accesses[memory, how, count] = None
        if how != "read":
            self.writes[memory] = self.writes.get(memory, 0) + 1

    def allocated(self, array: DeviceArray) -> None:
        self._allocations += 1
        self._places[id(_block(array))] = self._allocations, array.address
        if self.stream is not None:
            self.kept.append(array)

    def enqueued(self, *what) -> None:
        """Note a launch or copy by everything that it depends on."""
        self._trace.append(tuple(map(self._value, what)))

    def _value(self, thing):
        if isinstance(thing, DeviceArray):
            # Work space may lie elsewhere each time.
            number, start = self._places.get(id(_block(thing)), (None, 0))
            return number, thing.address - start
        if isinstance(thing, np.generic):
            return thing.dtype.str, thing.tobytes()
        return type(thing), thing

    def refuse(self, what: str) -> None:
        """What cannot be part of a graph."""
        if self.stream is not None:
            raise NotCaptured(what)

    def same(self, other: Record) -> bool:
        """Whether both passes did the same."""
        return (
            self._trace == other._trace
            and list(self.accesses) == list(other.accesses)
            and self.watched == other.watched
        )


def _block(array: DeviceArray):
    """What the memory belongs to in the end."""
    owner = array
    while isinstance(owner, DeviceArray):
        owner = owner.owner
    return owner


class Graph:
    """A captured pass that can be launched.

    Attributes
    ----------
    record : Record
        What it consists of.
    launches : int
        How many kernels.
    """

    def __init__(self, gpu, handle, record: Record, launches: int):
        self._gpu, self._handle = gpu, handle
        self.record, self.launches = record, launches

    def launch(self) -> None:
        """Enqueue it on the runtime's stream."""
        self._gpu.launch_graph(self._handle)

    def __del__(self):
        # This can run in any thread: the driver only takes note.
        self._gpu.driver.free_graph(self._handle)


@contextmanager
def observed(gpu, record: Record) -> Iterator[Record]:
    """Let `record` write down what this thread enqueues."""
    gpu.watcher = record
    try:
        yield record
    finally:
        gpu.watcher = None


def capture(gpu, enqueue: Callable[[], None]) -> Graph:
    """The graph of what `enqueue` enqueues; nothing of it is done yet.

    Raises
    ------
    NotCaptured
        If it does what a graph cannot contain, or the driver has no graphs.
    """
    gpu.enter()
    with _refusing():
        stream = gpu.driver.begin_capture()
    if stream is None:
        raise NotCaptured("the driver has no CUDA graphs")
    record, before = Record(stream), gpu.launches
    try:
        with observed(gpu, record), _refusing():
            enqueue()
    except BaseException:
        # The stream must be left in order whatever it was.
        with suppress(DeviceError):
            gpu.driver.free_graph(gpu.driver.end_capture(stream))
        raise
    finally:
        launches, gpu.launches = gpu.launches - before, before
        record.stream = None  # it belongs to the driver
    with _refusing():
        handle = gpu.driver.end_capture(stream)
    return Graph(gpu, handle, record, launches)


@contextmanager
def _refusing() -> Iterator[None]:
    """What fails while a graph is captured need not fail otherwise: if it does, it comes again."""
    try:
        yield
    except DeviceLost:
        raise
    except DeviceError as error:
        raise NotCaptured(error.message) from error
