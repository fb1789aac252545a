"""Compare how long functions take, on a machine that may also do other things.

The functions take turns, so that a slow minute of the machine meets all of them. A sample counts
only if the process's threads hardly waited for a processor meanwhile, which Linux tells; where
there are no such samples, the figure says that it was disturbed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from statistics import median

# Threads may wait for a processor for this part of a sample.
TOLERATED = 0.03


class Seconds(float):
    """A time; `disturbed` if every sample was taken while something else ran."""

    disturbed: bool = False

    @classmethod
    def of(cls, samples: list[float], disturbed: bool) -> Seconds:
        seconds = cls(median(samples))
        seconds.disturbed = disturbed
        return seconds


def waited() -> float:
    """Seconds that this process's threads have been ready to run without a processor.

    0 where the system does not tell.
    """
    total = 0
    try:
        tasks = os.listdir("/proc/self/task")
    except OSError:
        return 0.0
    for task in tasks:
        try:
            with open(f"/proc/self/task/{task}/schedstat") as file:
                total += int(file.read().split()[1])
        except (OSError, IndexError):
            continue  # the thread has just ended
    return total * 1e-9


def sample(function: Callable[[], object]) -> tuple[float, bool]:
    """How long one call takes, and whether it was disturbed."""
    before, start = waited(), time.perf_counter()
    function()
    seconds = time.perf_counter() - start
    return seconds, waited() - before > TOLERATED * seconds


def compare(
    functions: dict[str, Callable[[], object]], repeats: int = 7, limit: float = 20.0
) -> dict[str, Seconds]:
    """The median time of each function.

    Parameters
    ----------
    functions : dict of callable
        Each is called once beforehand, to compile and to fill caches.
    repeats : int, default 7
        Undisturbed samples to take of each.
    limit : float, default 20
        Seconds after which what there is has to do.
    """
    for function in functions.values():
        function()
    clean = {name: [] for name in functions}
    every = {name: [] for name in functions}
    start = time.perf_counter()
    while True:
        for name, function in functions.items():
            if len(clean[name]) < repeats:
                seconds, disturbed = sample(function)
                every[name].append(seconds)
                if not disturbed:
                    clean[name].append(seconds)
        enough = all(len(samples) >= repeats for samples in clean.values())
        if enough or time.perf_counter() - start > limit:
            break
    return {
        name: Seconds.of(clean[name] or every[name], disturbed=not clean[name])
        for name in functions
    }


def processor_time(
    functions: dict[str, Callable[[], object]], repeats: int = 7, limit: float = 20.0
) -> dict[str, Seconds]:
    """The least processor time of each function, over all threads.

    For a machine that is busy with other things: what those take does not count, though they
    still share caches and memory. Threads that spin while they wait would count as work.
    """
    best = dict.fromkeys(functions, float("inf"))
    for function in functions.values():
        function()
    start = time.perf_counter()
    for _ in range(repeats):
        for name, function in functions.items():
            before = time.process_time()
            function()
            best[name] = min(best[name], time.process_time() - before)
        if time.perf_counter() - start > limit:
            break
    return {name: Seconds(value) for name, value in best.items()}
