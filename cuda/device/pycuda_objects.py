"""What the driver through PyCUDA hands out: kernels and events."""

from __future__ import annotations

from collections import deque

from caffe_spn.errors import DeviceError

# What a block can have without asking.
USUAL_SHARED_MEMORY = 48 << 10


class Kernel:
    """A kernel of a loaded module.

    Attributes
    ----------
    registers, local_bytes, shared_bytes, max_threads : int
        What a thread and a block take, as the compiler decided.
    dynamic_shared : int
        The most bytes of shared memory that a launch may ask for, for now.
    """

    def __init__(self, cuda, name: str, function):
        kind = cuda.function_attribute
        self.name = name
        self.function = function
        self.launch = function._launch_kernel
        self.registers = function.get_attribute(kind.NUM_REGS)
        self.local_bytes = function.get_attribute(kind.LOCAL_SIZE_BYTES)
        self.shared_bytes = function.get_attribute(kind.SHARED_SIZE_BYTES)
        self.max_threads = function.get_attribute(kind.MAX_THREADS_PER_BLOCK)
        self.dynamic_shared = USUAL_SHARED_MEMORY - self.shared_bytes

    def refused(self, error: Exception, grid, block, shared: int) -> DeviceError:
        """Our error for a launch that the device refused."""
        return DeviceError(
            f"the kernel {self.name} was not launched with a grid of {grid}, blocks of {block}"
            f" and {shared} bytes of shared memory: {error}",
            help=f"it takes {self.registers} registers, and at most {self.max_threads} threads in a"
            " block; please report this",
        )


class Event:
    """An event of PyCUDA's, which serves the next who needs one when this goes.

    PyCUDA destroys its own only where their context is current, and a last reference can go in any
    thread.
    """

    __slots__ = ("__weakref__", "_unused", "event")

    def __init__(self, event, unused: deque):
        self.event = event
        self._unused = unused

    def __del__(self):
        self._unused.append(self.event)
