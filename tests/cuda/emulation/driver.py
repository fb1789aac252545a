"""Driver of caffe_spn.cuda.device without a GPU: kernels run on the CPU when launched."""

from __future__ import annotations

import ctypes
import itertools
import threading
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import numpy as np

from caffe_spn.cuda.device.driver import DeviceInfo, Driver
from tests.cuda.emulation.build import CUDA, HERE, EmulationError, Launch, Module
from tests.cuda.emulation.launch_checks import check_arguments, check_shape
from tests.cuda.emulation.memory import Memory, view

DEVICES = [
    DeviceInfo(0, "Emulated GPU", (9, 0), 2 << 30, 132, 227 << 10),
    DeviceInfo(1, "Emulated small GPU", (7, 5), 1 << 30, 40, 64 << 10),
]
ORDERS = ("forward", "reverse", "shuffled")

_modules: dict = {}
_handles = itertools.count(1)
_one_at_a_time = threading.Lock()


class EmulatedDriver(Driver):
    """A driver whose devices are the CPU.

    Parameters
    ----------
    devices : sequence of DeviceInfo
        What it claims to have.

    Attributes
    ----------
    thread_order, block_order : str
        "forward", "reverse" or "shuffled": what a kernel computes must not depend on it.
    memory : Memory
        Its `total` may be lowered, to run out of it.
    graphs : list
        Those that were captured and not freed.
    """

    name = "emulation"

    def __init__(self, devices: Sequence[DeviceInfo] = DEVICES):
        self._devices = list(devices)
        self.thread_order = self.block_order = "forward"
        self._threads: set[int] = set()
        self._seeds = itertools.count(1)
        self.memory: Memory | None = None
        self.graphs: list[tuple] = []
        self._capturing: list = []

    def devices(self) -> list[DeviceInfo]:
        return list(self._devices)

    def open(self, ordinal: int) -> None:
        self.info = self._devices[ordinal]
        self.memory = Memory(self.info.memory)
        self.enter_thread()

    def enter_thread(self) -> None:
        self._threads.add(threading.get_ident())

    def close(self) -> None:
        self._check_thread()
        memory, self.memory = self.memory, None
        memory.clear()

    def _check_thread(self) -> None:
        if self.memory is None:
            raise EmulationError("the device is closed")
        if threading.get_ident() not in self._threads:
            raise EmulationError(
                "no context is current in this thread", help="call Runtime.enter first"
            )

    # Memory

    def memory_info(self) -> tuple[int, int]:
        self._check_thread()
        return self.memory.total - self.memory.used, self.memory.total

    def allocate(self, nbytes: int) -> int:
        self._check_thread()
        if nbytes <= 0:
            raise EmulationError(f"an allocation of {nbytes} bytes")
        with _one_at_a_time:
            return self.memory.allocate(nbytes)

    def free(self, address: int) -> None:
        self._check_thread()
        with _one_at_a_time:
            self.memory.free(address)

    def pinned(self, shape: Sequence[int], dtype) -> np.ndarray:
        self._check_thread()
        return np.empty(shape, dtype)

    def to_device(self, address: int, array: np.ndarray, stream=None) -> None:
        host = _host_bytes(array)
        self.enqueue(stream, lambda: self._copy(self._bytes(address, array.nbytes), host))

    def to_host(self, array: np.ndarray, address: int, stream=None) -> None:
        host = _host_bytes(array)
        self.enqueue(stream, lambda: self._copy(host, self._bytes(address, array.nbytes)))

    def copy(self, target: int, source: int, nbytes: int, stream) -> None:
        self.enqueue(
            stream, lambda: self._copy(self._bytes(target, nbytes), self._bytes(source, nbytes))
        )

    def fill(self, address: int, byte: int, nbytes: int, stream) -> None:
        self.enqueue(stream, lambda: self._copy(self._bytes(address, nbytes), byte))

    def enqueue(self, stream, action: Callable[[], None]) -> None:
        """Do what is enqueued at once, or write it down while a graph is captured.

        `action` reads host memory when it is done, and has its arguments' values from now.
        """
        self._check_thread()
        if stream is None or stream.captured is None:
            action()
        else:
            stream.captured.append(action)

    @staticmethod
    def _copy(target: np.ndarray, source) -> None:
        target[:] = source

    def _bytes(self, address: int, nbytes: int) -> np.ndarray:
        """Bytes of the device, which must lie in one array."""
        self._check_thread()
        if nbytes:
            self.memory.holding(int(address), nbytes)
        return view(int(address), nbytes)

    # Kernels

    def load(self, source: str, options: Sequence[str] = ()):
        """Modules live as long as the process. Tests' own sources lie beside this file."""
        self._check_thread()
        path = next((p for p in (CUDA / source, HERE / source) if p.exists()), CUDA / source)
        options = tuple(o for o in options if o.startswith(("-D", "-I", "-U")))
        with _one_at_a_time:
            if (path, options) not in _modules:
                _modules[path, options] = Module(path, options)
            return _modules[path, options]

    def function(self, module, name: str):
        if name not in module.names:
            raise EmulationError(f"there is no kernel {name!r}", module.source.name)
        return SimpleNamespace(
            name=name,
            module=module,
            signature=module.signature(name),
            registers=32,
            local_bytes=0,
            shared_bytes=0,
            max_threads=module.bound(name),
        )

    def launch(self, function, grid, block, arguments, shared: int, stream) -> None:
        self._check_thread()
        where = f"{function.module.source.name}: {function.name}"
        check_shape(self.info, function.max_threads, grid, block, shared, where)
        arguments = list(arguments)
        check_arguments(self.memory, function.signature, arguments, where)
        self.enqueue(stream, lambda: self._run(function, grid, block, arguments, shared, where))

    def _run(self, function, grid, block, arguments: list[np.generic], shared: int, where: str):
        # In a graph memory may have been freed meanwhile.
        touched = check_arguments(self.memory, function.signature, arguments, where)
        values = [_value(a) for a in arguments]
        pointers = (ctypes.c_void_p * len(values))(*[ctypes.addressof(v) for v in values])
        launch = Launch(
            grid=tuple(grid),
            block=tuple(block),
            shared=shared,
            thread_order=ORDERS.index(self.thread_order),
            block_order=ORDERS.index(self.block_order),
            seed=next(self._seeds),
            arguments=pointers,
        )
        with _one_at_a_time:
            function.module.run(function.name, launch)
            self.memory.check(touched, where)

    # Streams and events: everything has happened when the call returns.

    def new_stream(self):
        self._check_thread()
        return SimpleNamespace(handle=next(_handles), captured=None, invalid=None)

    def new_event(self, timing: bool = False):
        self._check_thread()
        return SimpleNamespace(at=None, timing=timing)

    def record(self, event, stream) -> None:
        self._check_thread()
        self._refuse_captured(stream, "record")
        event.at = time.perf_counter()

    def wait(self, stream, event) -> None:
        self._check_thread()
        self._refuse_captured(stream, "wait")

    def elapsed(self, start, end) -> float:
        if not (start.timing and end.timing):
            raise EmulationError("the events were not made with timing=True")
        if start.at is None or end.at is None:
            raise EmulationError("an event was not recorded")
        return (end.at - start.at) * 1e3

    def synchronize(self, what=None) -> None:
        self._check_thread()
        self._refuse_captured(what, "synchronize")

    # Graphs: what was enqueued, to be done again with the same values.

    def begin_capture(self):
        stream = self.new_stream()
        stream.captured = []
        self._capturing.append(stream)
        return stream

    def end_capture(self, stream):
        self._check_thread()
        self._capturing.remove(stream)
        if stream.invalid:
            raise EmulationError(f"the capture was invalidated by {stream.invalid}")
        graph, stream.captured = tuple(stream.captured), None
        self.graphs.append(graph)
        return graph

    def launch_graph(self, graph, stream) -> None:
        self.enqueue(stream, lambda: [action() for action in graph])

    def free_graph(self, graph) -> None:
        self.graphs[:] = [other for other in self.graphs if other is not graph]

    def _refuse_captured(self, what, call: str) -> None:
        """What CUDA answers with an error, after which the capture cannot be ended well."""
        for stream in self._capturing:
            if what is None or what is stream:
                stream.invalid = call
                raise EmulationError(f"{call} while a graph is captured")


def _value(argument: np.generic):
    return ctypes.create_string_buffer(argument.tobytes(), argument.nbytes)


def _host_bytes(array: np.ndarray) -> np.ndarray:
    if not array.flags.c_contiguous:
        raise EmulationError(f"an array of shape {array.shape} that is not contiguous")
    return array.reshape(-1).view(np.uint8)
