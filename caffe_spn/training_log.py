"""The lines that training writes, as `caffe train` writes them, and the same as JSON.

Caffe's own tools (parse_log, extract_seconds, plot_training_log) and whatever people built on them
read the lines, so the words and the glog prefix are Caffe's::

    I1121 13:46:40.123456  4711 solver.cpp:239] Iteration 100 (9.8 iter/s, 10.2s/100 iters), ...

Everything goes to the logger ``caffe_spn`` of Python's `logging`. A program that imports the
package sees warnings only, until `init_log` (as the command line does) shows the rest.
"""

from __future__ import annotations

import json
import logging
import os
import time
from dataclasses import asdict, dataclass, field

logger = logging.getLogger("caffe_spn")

_LEVELS = (logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)


class GlogFormatter(logging.Formatter):
    """Formats a record as glog does: severity, date, time, process, source, message."""

    def format(self, record: logging.LogRecord) -> str:
        severity = {"INFO": "I", "DEBUG": "I", "WARNING": "W", "ERROR": "E"}.get(
            record.levelname, "F"
        )
        when = time.strftime("%m%d %H:%M:%S", time.localtime(record.created))
        micros = int(record.created % 1 * 1e6)
        source = getattr(record, "source", f"{record.filename}:{record.lineno}")
        prefix = f"{severity}{when}.{micros:06d} {os.getpid():5d} {source}] "
        return "\n".join(prefix + line for line in super().format(record).split("\n"))


def init_log(level: int = 0, stream=None) -> logging.Handler:
    """Show the package's log, in glog's format.

    Parameters
    ----------
    level : int, default 0
        The least severity shown: 0 information, 1 warnings, 2 errors, 3 fatal errors.
    stream : file or bool, optional
        Where to; stderr by default. A second call replaces the first one's stream and level.
        pycaffe's flag: True is stderr; False shows errors only, as glog does when it writes
        the rest to files.
    """
    if isinstance(stream, bool):
        level, stream = (level if stream else max(level, 2)), None
    for handler in list(logger.handlers):
        if isinstance(handler.formatter, GlogFormatter):
            logger.removeHandler(handler)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(GlogFormatter())
    logger.addHandler(handler)
    logger.setLevel(_LEVELS[min(max(level, 0), 3)])
    logger.propagate = False
    return handler


def info(message: str, source: str) -> None:
    """Log one line; `source` is where Caffe says it, such as ``solver.cpp:239``."""
    logger.info(message, extra={"source": source})


def log_clipping(norm: float, limit: float, scale: float) -> None:
    """Log that gradients were clipped, if they were."""
    if scale != 1:
        info(
            f"Gradient clipping: scaling down gradients (L2 norm {norm:g} > {limit:g})"
            f" by scale factor {scale:g}",
            "sgd_solver.cpp:94",
        )


def log(message: str) -> None:
    """Log one line of a script's own, as `caffe.log` does."""
    info(message, "_caffe.cpp:62")


@dataclass
class Output:
    """One number that a net puts out: name, value, and its weight in the loss (or 0)."""

    name: str
    value: float
    loss_weight: float = 0.0

    def line(self, phase: str, index: int) -> str:
        text = f"    {phase} net output #{index}: {self.name} = {self.value:g}"
        if self.loss_weight:
            weighted = self.loss_weight * self.value
            text += f" (* {self.loss_weight:g} = {weighted:g} loss)"
        return text


@dataclass
class Display:
    """What is known when `display` is due: every `display` iterations, before the update."""

    iter: int
    loss: float
    smoothed_loss: float
    lr: float
    seconds: float
    iterations: int
    outputs: list[Output] = field(default_factory=list)

    def log(self, display: int) -> None:
        speed = self.iterations / (self.seconds or 1)
        info(
            f"Iteration {self.iter} ({speed:g} iter/s, {self.seconds:g}s/{display} iters),"
            f" loss = {self.smoothed_loss:g}",
            "solver.cpp:239",
        )
        for index, output in enumerate(self.outputs):
            info(output.line("Train", index), "solver.cpp:258")


@dataclass
class Test:
    """The means over one pass of a test net; `loss` only with `test_compute_loss`."""

    iter: int
    net: int
    outputs: list[Output] = field(default_factory=list)
    loss: float | None = None
    __test__ = False  # the name is Caffe's; pytest must not collect it

    def log(self) -> None:
        if self.loss is not None:
            info(f"Test loss: {self.loss:g}", "solver.cpp:400")
        for index, output in enumerate(self.outputs):
            info(output.line("Test", index), "solver.cpp:414")


@dataclass
class Snapshot:
    """The files of a snapshot that was written."""

    iter: int
    weights: str
    state: str


class JsonLog:
    """A listener that appends one JSON object a line for each display, test and snapshot.

    Parameters
    ----------
    path : str or path
        A resumed training appends to what is there.
    """

    def __init__(self, path):
        self._file = open(path, "a", encoding="utf-8")

    def on_display(self, event: Display) -> None:
        self._write("display", event)

    def on_test(self, event: Test) -> None:
        self._write("test", event)

    def on_snapshot(self, event: Snapshot) -> None:
        self._write("snapshot", event)

    def close(self) -> None:
        self._file.close()

    def _write(self, kind: str, event) -> None:
        record = {"event": kind, "time": time.time(), **asdict(event)}
        # JSON has no NaN; a reader must not stumble over a metric that is not a number.
        text = json.dumps(_finite(record), allow_nan=False)
        self._file.write(text + "\n")
        self._file.flush()


def _finite(value):
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value
