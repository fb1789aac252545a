"""The parts of a long measurement: each may fail, or take too long, without ending the others."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class Log:
    """Says what happens, on the screen and in a file.

    Parameters
    ----------
    path : Path, optional
    """

    def __init__(self, path: Path | None = None):
        self.file = None if path is None else path.open("w", encoding="utf-8", buffering=1)
        self.begin = time.perf_counter()

    def progress(self, text: str) -> None:
        """A line on stderr, with the seconds since the start."""
        self._write(f"[{time.perf_counter() - self.begin:5.0f} s] {text}", sys.stderr)

    def result(self, text: str) -> None:
        """Text on stdout."""
        self._write(text, sys.stdout)

    def _write(self, text: str, stream) -> None:
        print(text, file=stream, flush=True)
        if self.file is not None:
            print(text, file=self.file)


class Parts:
    """Runs parts one after the other, and notes what went wrong.

    Parameters
    ----------
    log : Log
    seconds : float
        For all parts together; those that come later are left out, and noted.

    Attributes
    ----------
    failures, notes : list of str
        What failed, and what was left out for a reason that is no failure.
    """

    def __init__(self, log: Log, seconds: float):
        self.log = log
        self.end = time.perf_counter() + seconds
        self.failures: list[str] = []
        self.notes: list[str] = []

    def left(self) -> float:
        """Seconds that are left."""
        return self.end - time.perf_counter()

    def attempt(
        self, what: str, part: Callable[[], object], seconds: float, optional: bool = False
    ):
        """The part's result, or None if it failed or took more than `seconds`.

        What is `optional` may fail: it is noted then.
        """
        seconds = min(seconds, self.left())
        if seconds < 1:
            self.notes.append(f"{what}: left out, there was no time left")
            return None
        self.log.progress(what)
        try:
            with time_limit(seconds):
                return part()
        except Exception as error:
            # Whatever a part raises is its result: it is shown, and makes the whole a failure.
            text = f"{what}: {type(error).__name__}: {error}"
            (self.notes if optional else self.failures).append(text)
            self.log.progress(f"FAILED {text}")
            return None


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the block after so long; it waits for calls that are not Python's."""
    if (
        not hasattr(signal, "setitimer")
        or threading.current_thread() is not threading.main_thread()
    ):
        yield
        return

    def stop(number, frame):
        raise TimeoutError(f"it took more than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def markdown(headers: list[str], rows: list[list[str]]) -> str:
    """A table."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
