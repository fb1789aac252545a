"""The CUDA driver through PyCUDA.

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
import weakref
from collections import deque
from contextlib import contextmanager

from caffe_spn.cuda.compiling.compiler import compile_cubin
from caffe_spn.cuda.device.driver import DeviceInfo, DeviceLost, Driver, OutOfDeviceMemory
from caffe_spn.cuda.device.pycuda_graphs import NON_BLOCKING, Graphs
from caffe_spn.cuda.device.pycuda_import import driver_version, import_driver, library
from caffe_spn.cuda.device.pycuda_objects import Event, Kernel
from caffe_spn.errors import DeviceError

# How long `settle` waits for other threads' calls.
MOST_SECONDS_TO_SETTLE = 10.0


def _ours(method):
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


class PyCudaDriver(Driver):
    """The devices of this machine.

    Raises
    ------
    DeviceError
        If PyCUDA or the driver is not installed, or the driver does not start.
    """

    name = "PyCUDA"

    def __init__(self):
        self.cuda = import_driver()
        self._library = library()
        self._context = None
        # An entry for each call that has not returned.
        self._running: list = []
        self._settled: int | None = None  # the thread that may still call
        self._memory: dict[int, object] = {}
        self._pinned: dict[int, object] = {}
        self._dropped: deque[int] = deque()  # of _pinned, what nobody uses any more
        self._events: weakref.WeakSet[Event] = weakref.WeakSet()
        self._unused: tuple[deque, deque] = (deque(), deque())  # of events, without timing and with
        # Streams and modules live as long as the context.
        self._kept: list = []
        self._last_kernel: str | None = None
        self._graphs = Graphs(self._library)
        self._capturing: list = []  # the streams that graphs are captured on now
        self._capture_streams: list = []  # and those that wait for the next

    @_ours
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

    # The context

    @_ours
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
        for event in list(self._events):
            event.event = None
        for unused in self._unused:
            unused.clear()
        self._graphs.destroy_all()
        self._capture_streams.clear()
        self._kept.clear()
        for held in (self._memory, self._pinned):
            for allocation in held.values():
                allocation.free()
            held.clear()

    def abandon(self, context=None):
        # Destroying PyCUDA's objects would use the context, fail, and end the process: they stay,
        # and so does whatever refers to them.
        everything = (self, context, dict(self.__dict__))
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(everything))

    # Memory

    @_ours
    def memory_info(self):
        return tuple(self.cuda.mem_get_info())

    @_ours
    def allocate(self, nbytes):
        with self._pushed():
            allocation = self.cuda.mem_alloc(nbytes)
        address = int(allocation)
        self._memory[address] = allocation
        return address

    @_ours
    def free(self, address):
        with self._pushed():
            self._memory.pop(address).free()

    @_ours
    def pinned(self, shape, dtype):
        with self._pushed():
            self._free_dropped()
            array = self.cuda.pagelocked_empty(tuple(shape), dtype)
        # The memory is kept when the array goes, which can be in any thread, and freed later.
        memory = array.base
        self._pinned[id(memory)] = memory
        weakref.finalize(array, self._dropped.append, id(memory)).atexit = False
        return array

    def _free_dropped(self) -> None:
        # Without a lock: garbage collection, which can start anywhere, waits for other threads.
        while True:
            try:
                memory = self._dropped.popleft()
            except IndexError:
                return
            self._pinned.pop(memory).free()

    @_ours
    def to_device(self, address, array, stream=None):
        if stream is None:
            self.cuda.memcpy_htod(address, array)
        else:
            self.cuda.memcpy_htod_async(address, array, stream)

    @_ours
    def to_host(self, array, address, stream=None):
        if stream is None:
            self.cuda.memcpy_dtoh(array, address)
        else:
            self.cuda.memcpy_dtoh_async(array, address, stream)

    @_ours
    def copy(self, target, source, nbytes, stream):
        self.cuda.memcpy_dtod_async(target, source, nbytes, stream)

    @_ours
    def fill(self, address, byte, nbytes, stream):
        self.cuda.memset_d8_async(address, byte, nbytes, stream)

    # Programs

    @_ours
    def load(self, source, options=()):
        image = compile_cubin(source, self._capability, options)
        try:
            with self._pushed():
                module = self.cuda.module_from_buffer(image)
        except self.cuda.Error as error:
            raise self._not_loaded(error, source) from error
        self._kept.append(module)
        return module

    def _not_loaded(self, error, source: str) -> DeviceError:
        ours = self._translated(error)
        if isinstance(ours, (DeviceLost, OutOfDeviceMemory)):
            return ours
        return DeviceError(
            f"the driver, which is for CUDA {driver_version()}, does not load what was compiled"
            f" of {source}: {str(error).rstrip(' -')}",
            help="update it, or compile with an older CUDA release (docs/gpu.md)",
        )

    @_ours
    def function(self, module, name):
        try:
            return Kernel(self.cuda, name, module.get_function(name))
        except self.cuda.LogicError as error:
            raise DeviceError(f"there is no kernel {name}: {error}") from error

    def launch(self, function, grid, block, arguments, shared, stream):
        if shared > function.dynamic_shared:
            self._allow(function, shared, grid, block)
        try:
            function.launch(grid, block, arguments.packed(), shared, stream)
        except self.cuda.Error as error:
            raise self._not_launched(error, function, grid, block, shared) from error
        self._last_kernel = function.name

    def _not_launched(self, error, function: Kernel, grid, block, shared: int) -> DeviceError:
        ours = self._translated(error, f" at the launch of {function.name}")
        if isinstance(ours, DeviceLost):
            return ours
        return function.refused(error, grid, block, shared)

    def _allow(self, function: Kernel, shared: int, grid, block) -> None:
        attribute = self.cuda.function_attribute.MAX_DYNAMIC_SHARED_SIZE_BYTES
        try:
            function.function.set_attribute(attribute, shared)
        except self.cuda.Error as error:
            raise self._not_launched(error, function, grid, block, shared) from error
        function.dynamic_shared = shared

    # Streams and events

    @_ours
    def new_stream(self):
        with self._pushed():
            stream = self.cuda.Stream()
        self._kept.append(stream)
        return stream

    @_ours
    def new_event(self, timing=False):
        unused = self._unused[bool(timing)]
        try:
            event = unused.pop()
        except IndexError:
            flags = self.cuda.event_flags
            with self._pushed():
                event = self.cuda.Event(flags.DEFAULT if timing else flags.DISABLE_TIMING)
        wrapped = Event(event, unused)
        self._events.add(wrapped)
        return wrapped

    @_ours
    def record(self, event, stream):
        event.event.record(stream)

    @_ours
    def wait(self, stream, event):
        stream.wait_for_event(event.event)

    @_ours
    def elapsed(self, start, end):
        end.event.synchronize()
        return start.event.time_till(end.event)

    @_ours
    def synchronize(self, what=None):
        if isinstance(what, Event):
            what = what.event
        (self.cuda.Context if what is None else what).synchronize()

    # Graphs

    @_ours
    def begin_capture(self):
        if not self._graphs.usable:
            return None
        if self._graphs.some_dropped and not self._capturing:
            # Seldom enough to wait until none of them runs any more.
            self.cuda.Context.synchronize()
            self._graphs.destroy_dropped()
        if not self._capture_streams:
            with self._pushed():
                stream = self.cuda.Stream(NON_BLOCKING)
            self._kept.append(stream)
            self._capture_streams.append(stream)
        stream = self._capture_streams.pop()
        self._graphs.begin(stream.handle)
        self._capturing.append(stream)
        return stream

    @_ours
    def end_capture(self, stream):
        self._capturing.remove(stream)
        graph = self._graphs.end(stream.handle)
        # After an error it is left aside.
        self._capture_streams.append(stream)
        return graph

    @_ours
    def launch_graph(self, graph, stream):
        try:
            self._graphs.launch(graph, stream.handle)
        except DeviceError as error:
            raise self._translated(error, " at the launch of a CUDA graph") from error

    def free_graph(self, graph):
        self._graphs.drop(graph)

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
        try:
            self.cuda.Context.synchronize()
        except self.cuda.Error as again:
            return "invalid device context" not in str(again)
        return False
