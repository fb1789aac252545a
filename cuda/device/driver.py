"""What the package needs of a CUDA driver: one small interface.

`pycuda_driver.PyCudaDriver` implements it on a GPU. The tests implement it on the CPU, where the
unchanged kernels run in an emulator.

Source: the CUDA driver API.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from caffe_spn.errors import DeviceError

if TYPE_CHECKING:
    from caffe_spn.cuda.device.programs import Arguments

# What the kernels are written for at least: Turing.
OLDEST_CAPABILITY = (7, 5)

# What a process can do that has lost its GPU.
ONLY_THE_CPU = (
    "in this one only the CPU can be used. With CUDA_LAUNCH_BLOCKING=1 and CAFFE_SPN_CUDA_GRAPHS=0"
    " kernels fail at their own launch"
)


class OutOfDeviceMemory(DeviceError):
    """An allocation that the device has no room for.

    Attributes
    ----------
    fixed : int
        Bytes of it that a smaller batch would need, too.
    """

    fixed = 0


class DeviceLost(DeviceError):
    """A kernel failed in a way that leaves nothing usable on the device in this process."""

    @classmethod
    def by(cls, what: str) -> DeviceLost:
        """The error that says what happened, and what can be done."""
        return cls(
            f"the GPU was lost: {what}",
            help=f"go on from the last snapshot in a new process; {ONLY_THE_CPU}",
        )


@dataclass(frozen=True)
class DeviceInfo:
    """A device, as it describes itself.

    Attributes
    ----------
    ordinal : int
    name : str
    capability : (int, int)
        Compute capability: (9, 0) compiles as sm_90.
    memory : int
        Bytes.
    multiprocessors : int
    shared_memory : int
        The most bytes of shared memory that a block can ask for.
    """

    ordinal: int
    name: str
    capability: tuple[int, int]
    memory: int
    multiprocessors: int
    shared_memory: int

    @property
    def supported(self) -> bool:
        """Whether the kernels can be compiled for it."""
        return self.capability >= OLDEST_CAPABILITY


class Driver(ABC):
    """A CUDA driver. Addresses are integers; streams, events, modules and functions are opaque.

    Attributes
    ----------
    name : str
    lost : str or None
        After a `DeviceLost`, what happened: from then on everything fails.
    """

    name: str
    lost: str | None = None

    @abstractmethod
    def devices(self) -> list[DeviceInfo]:
        """All devices; opens none."""

    @abstractmethod
    def open(self, ordinal: int) -> None:
        """Retain the primary context of a device, and make it current in this thread."""

    @abstractmethod
    def enter_thread(self) -> None:
        """Make the opened context current in the calling thread."""

    @abstractmethod
    def close(self) -> None:
        """Release the context, and all that was made in it."""

    def settle(self) -> None:  # noqa: B027 (most drivers have nothing to do)
        """Refuse calls of other threads from now on, and wait for those that have begun."""

    def abandon(self) -> None:  # noqa: B027
        """Forget the context without touching it, or anything that was made in it.

        Called instead of `close` where that cannot be done: in a child process after a fork, when
        the device was lost, and at the end of the process, where threads may be left that use what
        `close` would take away.
        """

    @abstractmethod
    def memory_info(self) -> tuple[int, int]:
        """Bytes free, and bytes in all."""

    @abstractmethod
    def allocate(self, nbytes: int) -> int:
        """The address of new memory (256-byte aligned).

        Raises
        ------
        OutOfDeviceMemory
        """

    @abstractmethod
    def free(self, address: int) -> None:
        """Give memory back; work that uses it must have been enqueued before."""

    @abstractmethod
    def pinned(self, shape: Sequence[int], dtype) -> np.ndarray:
        """A page-locked array, which copies asynchronously."""

    @abstractmethod
    def to_device(self, address: int, array: np.ndarray, stream=None) -> None:
        """Copy a C-contiguous array to the device; without a stream, after all that was enqueued
        on any stream, and wait until `array` may change."""

    @abstractmethod
    def to_host(self, array: np.ndarray, address: int, stream=None) -> None:
        """Copy to a C-contiguous array; without a stream, after all that was enqueued on any
        stream, and wait for it."""

    @abstractmethod
    def copy(self, target: int, source: int, nbytes: int, stream) -> None:
        """Copy within the device."""

    @abstractmethod
    def fill(self, address: int, byte: int, nbytes: int, stream) -> None:
        """Set every byte."""

    @abstractmethod
    def load(self, source: str, options: Sequence[str] = ()):
        """The module compiled from ``cuda/<source>`` with options such as ``-DRADIUS=2``."""

    @abstractmethod
    def function(self, module, name: str):
        """A kernel of a module.

        The result has the attributes `registers`, `local_bytes`, `shared_bytes`, `max_threads`.
        """

    @abstractmethod
    def launch(
        self,
        function,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        arguments: Arguments,
        shared: int,
        stream,
    ) -> None:
        """Enqueue a kernel; as a sequence, the arguments are NumPy scalars, addresses uint64.

        `shared` bytes beyond the usual 48 KB are asked for by the driver itself.
        """

    @abstractmethod
    def new_stream(self):
        """A stream that is ordered with the legacy default stream; has the attribute `handle`."""

    @abstractmethod
    def new_event(self, timing: bool = False):
        """An event."""

    @abstractmethod
    def record(self, event, stream) -> None: ...

    @abstractmethod
    def wait(self, stream, event) -> None:
        """Let what is enqueued on `stream` from now on wait for `event`."""

    @abstractmethod
    def elapsed(self, start, end) -> float:
        """Milliseconds between two timing events; waits for the second."""

    @abstractmethod
    def synchronize(self, what=None) -> None:
        """Wait for a stream, an event, or (None) everything."""

    # Graphs; a driver that has none leaves these as they are.

    def begin_capture(self):
        """A stream whose work is written down from now on, instead of being done.

        Only the calling thread may use it, and must not wait for it. None if there are no graphs.
        """
        return None

    def end_capture(self, stream):
        """What was enqueued on the stream, for `launch_graph`; it is to be freed.

        Raises
        ------
        DeviceError
            If something was enqueued that no graph can contain.
        """
        raise NotImplementedError

    def launch_graph(self, graph, stream) -> None:
        """Enqueue everything in a graph."""
        raise NotImplementedError

    def free_graph(self, graph) -> None:  # noqa: B027 (without graphs there is nothing to free)
        """Forget a graph, which may still run; in any thread, also after `close`."""
