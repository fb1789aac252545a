"""CUDA graphs through the driver's own library: PyCUDA has none.

Source: the CUDA driver API, "Stream Management" and "Graph Management".
"""

from __future__ import annotations

import ctypes
from collections import deque
from ctypes import POINTER, byref, c_int, c_uint64, c_void_p

from caffe_spn.errors import DeviceError

# Allocating and loading go on meanwhile, here and in other threads.
_CAPTURE_MODE_RELAXED = 2
# A stream that does not wait for the legacy default stream, whose work could not be captured.
NON_BLOCKING = 1

_SIGNATURES = {
    "cuStreamBeginCapture_v2": [c_void_p, c_int],
    "cuStreamEndCapture": [c_void_p, POINTER(c_void_p)],
    "cuGraphInstantiateWithFlags": [POINTER(c_void_p), c_void_p, c_uint64],
    "cuGraphLaunch": [c_void_p, c_void_p],
    "cuGraphDestroy": [c_void_p],
    "cuGraphExecDestroy": [c_void_p],
}


class Graphs:
    """The graphs of one context.

    Parameters
    ----------
    library : ctypes.CDLL
        libcuda.

    Attributes
    ----------
    usable : bool
        Whether the driver is new enough (CUDA 11.4) to have the functions.
    """

    def __init__(self, library: ctypes.CDLL):
        self._functions: dict[str, object] = {}
        for name, arguments in _SIGNATURES.items():
            function = getattr(library, name, None)
            if function is not None:
                function.argtypes, function.restype = arguments, c_int
                self._functions[name] = function
        self.usable = len(self._functions) == len(_SIGNATURES)
        self._alive: set[int] = set()
        self._dropped: deque[int] = deque()

    def begin(self, stream: int) -> None:
        """Write down what is enqueued on a stream, given by its handle."""
        self._call("cuStreamBeginCapture_v2", stream, _CAPTURE_MODE_RELAXED)

    def end(self, stream: int) -> int:
        """The executable graph of what was enqueued."""
        graph, executable = c_void_p(), c_void_p()
        self._call("cuStreamEndCapture", stream, byref(graph))
        try:
            self._call("cuGraphInstantiateWithFlags", byref(executable), graph, 0)
        finally:
            self._call("cuGraphDestroy", graph)
        self._alive.add(executable.value)
        return executable.value

    def launch(self, graph: int, stream: int) -> None:
        self._call("cuGraphLaunch", graph, stream)

    def drop(self, graph: int) -> None:
        """Take note that a graph is not used any more; in any thread."""
        self._dropped.append(graph)

    @property
    def some_dropped(self) -> bool:
        return bool(self._dropped)

    def destroy_dropped(self) -> None:
        """Destroy what nobody uses any more; nothing of it may still run."""
        while self._dropped:
            self._destroy(self._dropped.popleft())

    def destroy_all(self) -> None:
        """Destroy everything, while the context is still there."""
        for graph in list(self._alive):
            self._destroy(graph)

    def _destroy(self, graph: int) -> None:
        if graph in self._alive:
            self._alive.discard(graph)
            self._call("cuGraphExecDestroy", graph)

    def _call(self, name: str, *arguments) -> None:
        code = self._functions[name](*arguments)
        if code:
            raise DeviceError(f"{name} failed: CUDA error {code}")
