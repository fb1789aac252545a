"""How long work takes on a GPU, by events around many launches in a row.

What Python enqueues may take less time on the device than in Python. So the device is first given
something else to do (setting a large array, which also empties its caches), for as long as Python
needs to enqueue everything that is timed; then it finds all of it waiting. Where the device's queue
is too short for that, the time is Python's, and is marked.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np

from benchmarks.gpu_lines import SOURCE

# More than the caches of any GPU.
COLD_BYTES = 256 << 20
# Launches that a device's queue is sure to hold.
MOST_QUEUED = 1000
# What one repeat should take at least, and the most calls for that.
SECONDS = 0.01
MOST_CALLS = 100
# The same for calls in a loop.
LOOP_SECONDS = 0.2


@dataclass(frozen=True)
class Time:
    """The time of one call.

    Attributes
    ----------
    us : float
        Microseconds on the device; the median of the repeats.
    enqueue_us : float
        Microseconds that Python takes to enqueue it.
    by_host : bool
        Whether the device waited for Python, so that `us` is a time of Python's.
    """

    us: float
    enqueue_us: float = 0.0
    by_host: bool = False

    def __str__(self) -> str:
        return significant(self.us) + (" *" if self.by_host else "")


class Clock:
    """Times of calls that enqueue work on a runtime's stream.

    Parameters
    ----------
    gpu : Runtime
    repeats : int, default 7
    quick : bool, default False
        One call and one repeat, to see that everything works.
    """

    def __init__(self, gpu, repeats: int = 7, quick: bool = False):
        self.gpu = gpu
        self.repeats = 1 if quick else repeats
        self.most_calls = 1 if quick else MOST_CALLS
        self.filler = gpu.array(((1 if quick else COLD_BYTES >> 20) << 20,), np.uint8)
        self._start, self._end = gpu.event(timing=True), gpu.event(timing=True)
        self._fill()
        self._fill_us = max(1.0, self.elapsed(self._fill))
        few = gpu.array((5,))
        gpu.zero(few)

        def launch(i: int) -> None:
            gpu.launch(SOURCE, "sum_directions", 1, 32, few, few.part(4, (1,)), 1)

        launch(0)  # compiles
        self._launch_us = self._enqueue(launch, 3 * self.most_calls)

    def _fill(self) -> None:
        self.gpu.zero(self.filler)

    def elapsed(self, function: Callable[[], object]) -> float:
        """Microseconds between the events around one call."""
        self.gpu.record(self._start)
        function()
        self.gpu.record(self._end)
        return 1e3 * self.gpu.driver.elapsed(self._start, self._end)

    def _enqueue(self, call: Callable[[int], object], count: int) -> float:
        """Microseconds of Python for each of `count` calls."""
        self.gpu.synchronize()
        begin = time.perf_counter()
        for i in range(count):
            call(i)
        seconds = time.perf_counter() - begin
        self.gpu.synchronize()
        return 1e6 * seconds / count

    def time(self, call: Callable[[int], object], cached: bool = False) -> Time:
        """The time of ``call(i)``, i = 0, 1, ...

        Parameters
        ----------
        call : callable
            From `i` it chooses the arrays that it works on.
        cached : bool, default False
            Give it the same arrays each time, as the call before left them in the cache. Otherwise
            the cache holds nothing of the first call's.
        """

        def run(i: int) -> None:
            call(0 if cached else i)

        run(0)  # compiles
        before = self.gpu.launches
        alone = self.elapsed(lambda: run(0))
        launches = self.gpu.launches - before
        count = self._count(alone, launches)
        enqueue = self._enqueue(run, min(count, 3))
        queued = launches * count <= MOST_QUEUED
        fills = math.ceil(1.5 * enqueue * count / self._fill_us) if queued else 1
        samples = []
        for _ in range(self.repeats):
            for _ in range(min(max(1, fills), MOST_QUEUED)):
                self._fill()
            if cached:
                run(0)
            samples.append(self.elapsed(lambda: _repeat(run, count)) / count)
        us = median(samples)
        by_host = not queued and us < 1.5 * launches * self._launch_us
        return Time(us, enqueue, by_host)

    def in_a_loop(self, call: Callable[[], object], wait: Callable[[], object]) -> float:
        """Milliseconds of a call among many, as a program sees it that calls it in a loop.

        Parameters
        ----------
        call : callable
        wait : callable
            Returns when everything is done that was enqueued.
        """

        def several(count: int) -> float:
            wait()
            begin = time.perf_counter()
            for _ in range(count):
                call()
            wait()
            return 1e3 * (time.perf_counter() - begin) / count

        several(1)
        alone = several(1)
        count = max(1, min(math.ceil(LOOP_SECONDS * 1e3 / alone), self.most_calls))
        return median(several(count) for _ in range(self.repeats))

    def _count(self, us: float, launches: int) -> int:
        """Calls for one repeat."""
        wanted = math.ceil(1e6 * SECONDS / max(us, 0.1))
        return max(1, min(wanted, self.most_calls, MOST_QUEUED // (2 * max(1, launches))))


def _repeat(call: Callable[[int], object], count: int) -> None:
    for i in range(count):
        call(i)


def significant(value: float) -> str:
    """Three digits, without an exponent."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"
