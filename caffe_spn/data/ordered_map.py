"""A map over many items in several threads, with the results in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item, Result = TypeVar("Item"), TypeVar("Result")

THREADS = min(8, os.cpu_count() or 1)

# Results that may wait for their turn, for each thread; they are held in memory.
_AHEAD = 4


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int = THREADS
) -> Iterator[Result]:
    """Results of a function that lets other threads run, such as decoding an image.

    Parameters
    ----------
    function : callable
        Called in several threads.
    items : iterable
        Taken as they are needed, in this thread.
    threads : int
        How many; by default one for each core, and at most 8.

    Raises
    ------
    Exception
        What `function` raised, in its item's turn.
    """
    with ThreadPoolExecutor(threads) as pool:
        waiting = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > _AHEAD * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
