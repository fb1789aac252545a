"""The CUDA driver through PyCUDA: memory, programs, streams and graphs of a context.

Source: PyCUDA's reference; the CUDA driver API.
"""

from __future__ import annotations

import weakref
from collections import deque

from caffe_spn.cuda.compiling.compiler import compile_cubin
from caffe_spn.cuda.device.driver import DeviceLost, OutOfDeviceMemory
from caffe_spn.cuda.device.pycuda_context import PyCudaContext, through_pycuda
from caffe_spn.cuda.device.pycuda_graphs import NON_BLOCKING, Graphs
from caffe_spn.cuda.device.pycuda_import import driver_version
from caffe_spn.cuda.device.pycuda_objects import Event, Kernel
from caffe_spn.errors import DeviceError


class PyCudaDriver(PyCudaContext):
    """The devices of this machine.

    Raises
    ------
    DeviceError
        If PyCUDA or the driver is not installed, or the driver does not start.
    """

    name = "PyCUDA"

    def __init__(self):
        super().__init__()
        self._memory: dict[int, object] = {}
        self._pinned: dict[int, object] = {}
        self._dropped: deque[int] = deque()  # of _pinned, what nobody uses any more
        self._events: weakref.WeakSet[Event] = weakref.WeakSet()
        self._unused: tuple[deque, deque] = (deque(), deque())  # of events, without timing and with
        # Streams and modules live as long as the context.
        self._kept: list = []
        self._graphs = Graphs(self._library)
        self._capturing: list = []  # the streams that graphs are captured on now
        self._capture_streams: list = []  # and those that wait for the next

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

    # Memory

    @through_pycuda
    def memory_info(self):
        return tuple(self.cuda.mem_get_info())

    @through_pycuda
    def allocate(self, nbytes):
        with self._pushed():
            allocation = self.cuda.mem_alloc(nbytes)
        address = int(allocation)
        self._memory[address] = allocation
        return address

    @through_pycuda
    def free(self, address):
        with self._pushed():
            self._memory.pop(address).free()

    @through_pycuda
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

    @through_pycuda
    def to_device(self, address, array, stream=None):
        if stream is None:
            self.cuda.memcpy_htod(address, array)
        else:
            self.cuda.memcpy_htod_async(address, array, stream)

    @through_pycuda
    def to_host(self, array, address, stream=None):
        if stream is None:
            self.cuda.memcpy_dtoh(array, address)
        else:
            self.cuda.memcpy_dtoh_async(array, address, stream)

    @through_pycuda
    def copy(self, target, source, nbytes, stream):
        self.cuda.memcpy_dtod_async(target, source, nbytes, stream)

    @through_pycuda
    def fill(self, address, byte, nbytes, stream):
        self.cuda.memset_d8_async(address, byte, nbytes, stream)

    # Programs

    @through_pycuda
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

    @through_pycuda
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

    @through_pycuda
    def new_stream(self):
        with self._pushed():
            stream = self.cuda.Stream()
        self._kept.append(stream)
        return stream

    @through_pycuda
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

    @through_pycuda
    def record(self, event, stream):
        event.event.record(stream)

    @through_pycuda
    def wait(self, stream, event):
        stream.wait_for_event(event.event)

    @through_pycuda
    def elapsed(self, start, end):
        end.event.synchronize()
        return start.event.time_till(end.event)

    @through_pycuda
    def synchronize(self, what=None):
        if isinstance(what, Event):
            what = what.event
        (self.cuda.Context if what is None else what).synchronize()

    # Graphs

    @through_pycuda
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

    @through_pycuda
    def end_capture(self, stream):
        self._capturing.remove(stream)
        graph = self._graphs.end(stream.handle)
        # After an error it is left aside.
        self._capture_streams.append(stream)
        return graph

    @through_pycuda
    def launch_graph(self, graph, stream):
        try:
            self._graphs.launch(graph, stream.handle)
        except DeviceError as error:
            raise self._translated(error, " at the launch of a CUDA graph") from error

    def free_graph(self, graph):
        self._graphs.drop(graph)
