"""CPU kernels: plain functions on arrays that know nothing of blobs, layers or nets.

The float32 paths are compiled with Numba; each has a plain NumPy twin for other types and for
an installation without Numba. Nothing here is imported before a layer first computes, because
Numba takes most of a second to import.

Threads: Numba runs parallel loops on threads of its own. Its portable threading layer
("workqueue") ends the process when two Python threads enter a parallel loop at the same time,
so every call of a parallel kernel is made under `parallel_section`. Loops inside such a kernel
must not call a library that starts threads itself (a BLAS, OpenMP): the two pools would fight
over the cores. Threads that prepare data in the background must not call kernels at all.

A child made by fork() does not have Numba's threads, and OpenMP ends a process that asks for them:
where the parent has used them, the child computes with NumPy.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

_lock = threading.RLock()
# Whether parallel kernels have run here, and whether they had before this process was forked.
_threads_used = False
_threads_lost = False


def _after_fork_in_child() -> None:
    # The child would wait forever for a thread that it does not have.
    global _lock, _threads_lost
    _lock = threading.RLock()
    _threads_lost = _threads_used


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


@contextmanager
def parallel_section() -> Iterator[None]:
    """Hold the process-wide lock under which parallel kernels run."""
    global _threads_used
    with _lock:
        _threads_used = True
        yield


def compiled() -> bool:
    """Whether the compiled kernels can be used: Numba is installed, and its threads are here."""
    return _installed() and not _threads_lost


@functools.cache
def _installed() -> bool:
    return importlib.util.find_spec("numba") is not None


def compiled_suits(*arrays: np.ndarray) -> bool:
    """Whether compiled kernels can work on the arrays: float32, C-contiguous, not empty."""
    return compiled() and all(
        a.dtype == np.float32 and a.flags.c_contiguous and a.size for a in arrays
    )


def thread_count() -> int:
    """How many threads a parallel kernel uses (NUMBA_NUM_THREADS, or one for each core)."""
    if not compiled():
        return 1
    import numba

    return numba.get_num_threads()
