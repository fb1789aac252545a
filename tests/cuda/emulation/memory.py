"""The emulated device's memory: the host's, filled with NaN, with guards around every array."""

from __future__ import annotations

import bisect
import ctypes
import functools
import threading
from collections import deque

import numpy as np

from caffe_spn.cuda.device.driver import OutOfDeviceMemory
from tests.cuda.emulation.build import SANITIZER, EmulationError

ALIGNMENT = 256
# Under the address sanitizer the array ends where its memory ends, and the sanitizer watches.
GUARD = 0 if SANITIZER == "address" else 1024
POISON = 0xFF  # makes float32 and float64 NaN, int -1
# Bytes that are freed and not yet given back: their addresses are not taken for new arrays.
QUARANTINE = 0 if SANITIZER == "address" else 32 << 20

_libc = ctypes.CDLL(None)
_libc.free.argtypes = [ctypes.c_void_p]


def view(address: int, nbytes: int) -> np.ndarray:
    """The bytes at an address."""
    if not nbytes:
        return np.empty(0, np.uint8)
    return np.frombuffer((ctypes.c_ubyte * nbytes).from_address(address), np.uint8)


def _one_at_a_time(method):
    @functools.wraps(method)
    def locked(self, *arguments):
        with self._lock:
            return method(self, *arguments)

    return locked


class Memory:
    """What was allocated and not freed; threads may share it.

    Parameters
    ----------
    total : int
        Bytes of the device.
    """

    def __init__(self, total: int):
        self.total = total
        self.used = 0
        self._sizes: dict[int, int] = {}
        self._addresses: list[int] = []  # sorted
        self._freed: deque[tuple[int, int]] = deque()
        self._freed_bytes = 0
        self._lock = threading.RLock()

    @_one_at_a_time
    def allocate(self, nbytes: int) -> int:
        if self.used + nbytes > self.total:
            raise OutOfDeviceMemory(f"{nbytes} bytes, {self.total - self.used} free")
        base = ctypes.c_void_p()
        if _libc.posix_memalign(
            ctypes.byref(base), ctypes.c_size_t(ALIGNMENT), ctypes.c_size_t(nbytes + 2 * GUARD)
        ):
            raise MemoryError(f"the host has no {nbytes} bytes for the emulated device")
        view(base.value, nbytes + 2 * GUARD)[:] = POISON
        address = base.value + GUARD
        self.used += nbytes
        self._sizes[address] = nbytes
        bisect.insort(self._addresses, address)
        return address

    @_one_at_a_time
    def free(self, address: int) -> None:
        if address not in self._sizes:
            raise EmulationError(f"freed {address:#x}, which is not allocated")
        self.check([address], "what used it")
        nbytes = self._sizes.pop(address)
        self._addresses.remove(address)
        self.used -= nbytes
        view(address, nbytes)[:] = POISON
        self._freed.append((address, nbytes))
        self._freed_bytes += nbytes
        self._give_back(QUARANTINE)

    def _give_back(self, most: int) -> None:
        while self._freed_bytes > most:
            address, nbytes = self._freed.popleft()
            self._freed_bytes -= nbytes
            _libc.free(address - GUARD)

    @_one_at_a_time
    def holding(self, address: int, nbytes: int = 1) -> int:
        """The array that these bytes lie in.

        Raises
        ------
        EmulationError
        """
        index = bisect.bisect_right(self._addresses, address) - 1
        if index >= 0:
            start = self._addresses[index]
            end = start + self._sizes[start]
            if address + nbytes <= end:
                return start
            if address < end:
                raise EmulationError(
                    f"{nbytes} bytes at byte {address - start} of an array of {end - start}"
                )
        raise EmulationError(f"the address {address:#x} is not in device memory; was it freed?")

    @_one_at_a_time
    def check(self, addresses, who: str) -> None:
        """See that the guards around arrays are as they were.

        Raises
        ------
        EmulationError
            Naming `who` and the byte, counted from the array's first.
        """
        if not GUARD:
            return
        for address in addresses:
            nbytes = self._sizes[address]
            for start in (address - GUARD, address + nbytes):
                written = np.flatnonzero(view(start, GUARD) != POISON)
                if written.size:
                    view(start, GUARD)[:] = POISON
                    raise EmulationError(
                        f"{who} wrote outside an array of {nbytes} bytes: at byte"
                        f" {start - address + written[0]}"
                    )

    @_one_at_a_time
    def clear(self) -> None:
        """Free everything."""
        for address in list(self._addresses):
            self.free(address)
        self._give_back(0)
