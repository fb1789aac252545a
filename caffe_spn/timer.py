"""Timer: pycaffe's stopwatch.

Source: `Timer` of BVLC Caffe.
"""

from __future__ import annotations

import time

from caffe_spn import device
from caffe_spn.training_log import logger


class Timer:
    """Measures the time between `start` and `stop`; of a GPU, until it has done its work.

    Examples
    --------
    >>> timer = Timer()
    >>> timer.start()
    >>> timer.stop()
    >>> timer.ms >= 0
    True
    """

    def __init__(self):
        self._started: float | None = None
        self._seconds: float | None = None

    def start(self) -> None:
        """Start from zero; a timer that runs already goes on."""
        if self._started is None:
            device.synchronize()
            self._started = time.perf_counter()

    def stop(self) -> None:
        """Stop; does nothing to a timer that does not run."""
        if self._started is not None:
            device.synchronize()
            self._seconds = time.perf_counter() - self._started
            self._started = None

    @property
    def ms(self) -> float:
        """Milliseconds between the last start and stop; a running timer is stopped."""
        self.stop()
        if self._seconds is None:
            logger.warning("Timer has never been run before reading time.")
            return 0.0
        return 1000 * self._seconds
