"""Device memory that is kept for the next array instead of going back to the driver each time.

The driver's own allocation and freeing wait for the device. A block that an array gives up is
therefore held, and handed to the next array that it fits. What is held and not used stays small
beside what is used: see `Pool`.
"""

from __future__ import annotations

import gc
import threading
from bisect import bisect_left, insort
from collections import deque

from caffe_spn.cuda.device.driver import Driver, OutOfDeviceMemory

# Sizes are multiples of what the driver aligns to.
GRAIN = 256
# A held block serves a request that leaves at most this much of it unused.
MOST_UNUSED_SHARE = 8
MOST_UNUSED_BYTES = 4096
# Before the driver is asked for more, at most this much stays held (or a tenth of what is in use).
MOST_HELD = 32 << 20


class Block:
    """A piece of device memory; it returns to its pool when the last reference goes."""

    __slots__ = ("_returned", "address", "nbytes")

    def __init__(self, address: int, nbytes: int, returned: deque):
        self.address = address
        self.nbytes = nbytes
        self._returned = returned

    def __del__(self):
        # This can run at any point, in any thread, after a fork, and while Python ends: it only
        # leaves a note, which needs neither a lock nor the device.
        self._returned.append((self.address, self.nbytes))


class Pool:
    """Memory of one device.

    A block that was returned may be handed out at once: whatever still computes with it was
    enqueued before, on the same stream, as what will use it next. Who uses an array on another
    stream keeps it until that work is done.

    Parameters
    ----------
    driver : Driver

    Attributes
    ----------
    peak : int
        The most bytes that were taken from the driver at one time; set it to 0 to measure anew.
    """

    def __init__(self, driver: Driver):
        self.driver = driver
        self.peak = 0
        self._in_use = self._held = 0
        self._lock = threading.Lock()
        self._returned: deque = deque()
        self._addresses: set[int] = set()  # of all blocks, in use or held
        self._free: dict[int, list[int]] = {}  # by size, the addresses of held blocks
        self._sizes: list[int] = []  # of the held blocks, ascending

    @property
    def in_use(self) -> int:
        """Bytes of the blocks that are handed out."""
        with self._lock:
            self._collect()
            return self._in_use

    @property
    def held(self) -> int:
        """Bytes that wait for another use."""
        with self._lock:
            self._collect()
            return self._held

    def allocate(self, nbytes: int) -> Block:
        """A block of at least `nbytes`.

        Raises
        ------
        OutOfDeviceMemory
            When nothing is left, even after everything held went back to the driver.
        """
        size = max(1, -(-nbytes // GRAIN)) * GRAIN
        try:
            return self._allocate(size, max(MOST_HELD, self._in_use // 10))
        except OutOfDeviceMemory:
            # Nets that refer to themselves live until they are collected. Not under the lock:
            # what is collected may wait for another thread that allocates.
            gc.collect()
            return self._allocate(size, 0)

    def _allocate(self, size: int, most_held: int) -> Block:
        with self._lock:
            self._collect()
            found = self._take(size)
            if found is None:
                self._trim(most_held)
        # Without the lock: PyCUDA collects garbage where memory is short.
        address, size = found or (self.driver.allocate(size), size)
        with self._lock:
            self._addresses.add(address)
            self._in_use += size
            self.peak = max(self.peak, self._in_use + self._held)
        return Block(address, size, self._returned)

    def release_held(self) -> None:
        """Give everything that is not in use back to the driver."""
        with self._lock:
            self._collect()
            self._trim(0)

    def close(self) -> None:
        """Give everything back, in use or not."""
        with self._lock:
            addresses, self._addresses = self._addresses, set()
            self._free.clear()
            self._sizes.clear()
            self._in_use = self._held = 0
        for address in addresses:
            self.driver.free(address)

    def _collect(self) -> None:
        """Hold the blocks that were given up since the last time."""
        while self._returned:
            address, size = self._returned.popleft()
            if address in self._addresses:  # unless the pool was closed in the meantime
                self._free.setdefault(size, []).append(address)
                insort(self._sizes, size)
                self._in_use -= size
                self._held += size

    def _take(self, size: int) -> tuple[int, int] | None:
        """The address and size of the smallest held block that fits, without much waste."""
        index = bisect_left(self._sizes, size)
        most = size + max(size // MOST_UNUSED_SHARE, MOST_UNUSED_BYTES)
        if index == len(self._sizes) or self._sizes[index] > most:
            return None
        return self._pop(index)

    def _pop(self, index: int) -> tuple[int, int]:
        size = self._sizes.pop(index)
        self._held -= size
        return self._free[size].pop(), size

    def _trim(self, most: int) -> None:
        """Give the largest held blocks back until at most `most` bytes are held."""
        while self._sizes and self._held > most:
            address, _ = self._pop(-1)
            self._addresses.discard(address)
            self.driver.free(address)
