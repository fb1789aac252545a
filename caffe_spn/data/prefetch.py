"""Prefetching: a thread that prepares batches while the network computes.

Batch k must be a function of k alone (and of a fixed seed). Then a run can be resumed at any
batch, and how far the thread has run ahead changes nothing.
"""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable, Sequence

import numpy as np

Batch = Sequence[np.ndarray]

# How long a blocked thread sleeps before it looks whether it should end.
_POLL_SECONDS = 0.2


class Prefetcher:
    """Hands out batches in order; a background thread stays up to `depth` batches ahead.

    Parameters
    ----------
    produce : callable
        ``produce(k)`` makes batch k, a sequence of arrays. It runs in the thread and must not
        refer to the object that owns the prefetcher, or neither would ever be collected.
    depth : int
        How many batches to hold; 0 makes each one when it is asked for, without a thread.
    start : int, default 0
        The first batch.

    Attributes
    ----------
    next_batch : int
        The number of the batch that `get` returns next.

    Notes
    -----
    The thread starts with the first `get` and ends with `close`, with the garbage collection
    of the prefetcher, and with the interpreter. After `close`, `get` goes on where it was.
    """

    def __init__(self, produce: Callable[[int], Batch], depth: int, start: int = 0):
        self.next_batch = start
        self._produce = produce
        self._depth = depth
        self._results: queue.Queue | None = None
        self._end: Callable[[], object] | None = None

    def get(self) -> Batch:
        """The next batch; raises what `produce` raised for it."""
        if self._depth == 0:
            batch = self._produce(self.next_batch)
        else:
            if self._results is None:
                self._start()
            batch = self._wait()
        self.next_batch += 1
        return batch

    def get_if_ready(self) -> Batch | None:
        """The next batch, if the thread has made it; None as well if it failed: see `get`."""
        if self._results is None:
            return None
        with self._results.mutex:
            # Nobody else takes from the queue.
            ready = self._results.queue and self._results.queue[0][1] is None
        return self.get() if ready else None

    def close(self) -> None:
        """End the thread and drop what it has prepared."""
        if self._end is not None:
            self._end()
        self._results = self._end = None

    def _start(self) -> None:
        self._results = queue.Queue(self._depth)
        stop = threading.Event()
        thread = threading.Thread(
            target=_run,
            args=(self._produce, self.next_batch, self._results, stop),
            name="caffe_spn prefetch",
            daemon=True,
        )
        self._end = weakref.finalize(self, _finish, thread, stop)
        thread.start()

    def _wait(self) -> Batch:
        while True:
            try:
                # With a timeout Ctrl-C gets through on every platform.
                batch, error = self._results.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
            if error is not None:
                self.close()
                raise error
            return batch


def _run(produce, index: int, results: queue.Queue, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            result = (produce(index), None)
        except BaseException as error:
            result = (None, error)
        while not stop.is_set():
            try:
                results.put(result, timeout=_POLL_SECONDS)
                break
            except queue.Full:
                continue
        if result[1] is not None:
            return
        index += 1


def _finish(thread: threading.Thread, stop: threading.Event) -> None:
    stop.set()
    # The collector may run in the thread itself, which cannot wait for its own end.
    if thread is not threading.current_thread():
        thread.join(timeout=1)
