"""Read the log of a training, this package's or Caffe's: times, losses, rates, outputs of nets.

Lines are those of glog, ``I1121 13:46:40.123456  4711 solver.cpp:239] Iteration 100, ...``; a log
that was stripped of all that stands before the messages is read too, and has no times.

Source: `tools/extra/parse_log.py`, `parse_log.sh` and `extract_seconds.py` of BVLC Caffe.
"""

from __future__ import annotations

import calendar
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from caffe_spn.errors import DataError

_GLOG = re.compile(r"[IWEF](\d\d)(\d\d) (\d\d):(\d\d):(\d\d)\.(\d{6}) +\d+ \S+:\d+\] ")
_ITERATION = re.compile(r"Iteration (\d+)")
_LOSS = re.compile(r"Iteration \d+(?: \(.*\))?, loss = (\S+)")
_RATE = re.compile(r"Iteration \d+, lr = (\S+)")
_OUTPUT = re.compile(r"(Train|Test) net output #(\d+): (\S+) = (\S+)(.* loss\))?")


@dataclass
class Point:
    """A number at an iteration."""

    iteration: int
    seconds: float
    value: float


@dataclass
class TrainingLog:
    """What a log says.

    Attributes
    ----------
    train, test : list of dict
        Rows of a table: NumIters, Seconds, LearningRate and the outputs of the nets by name; the
        values of an output with several are NAME, NAME_1, NAME_2, ...
    losses, rates : list of Point
        The smoothed training loss, and the learning rate.
    loss_outputs : set of str
        The outputs that are part of a net's loss.
    """

    train: list[dict[str, float]] = field(default_factory=list)
    test: list[dict[str, float]] = field(default_factory=list)
    losses: list[Point] = field(default_factory=list)
    rates: list[Point] = field(default_factory=list)
    loss_outputs: set[str] = field(default_factory=set)


def dated_lines(path: str | os.PathLike) -> Iterator[tuple[float, str]]:
    """The lines of a log, each with its seconds since "Solving", or nan where it has no time.

    Without such a line the first time counts as the start. glog writes no year: it is that of the
    file, and goes up where the months start again.

    Raises
    ------
    DataError
        If the file cannot be read.
    """
    name = os.fspath(path)
    if not os.path.isfile(name):
        raise DataError("there is no such log", where=name)
    year = datetime.fromtimestamp(os.path.getmtime(name)).year
    with open(name, encoding="utf-8", errors="replace") as lines:
        found = [(_GLOG.match(line), line.rstrip("\n")) for line in lines]
    stamps = [(stamp, line) for stamp, line in found if stamp]
    if any(stamp[1] + stamp[2] == "0229" for stamp, _ in stamps):
        while not calendar.isleap(year):
            year -= 1
    first = next((stamp for stamp, line in stamps if "Solving" in line), None)
    start = _time(first or stamps[0][0], year) if stamps else None
    month = start.month if start else 0
    for stamp, line in found:
        if stamp is None:
            yield math.nan, line
            continue
        if int(stamp[1]) < month:
            year += 1
        month = int(stamp[1])
        yield (_time(stamp, year) - start).total_seconds(), line


def _time(stamp: re.Match, year: int) -> datetime:
    return datetime(year, *map(int, stamp.groups()))


def read_log(path: str | os.PathLike) -> TrainingLog:
    """Read the log of a training.

    Parameters
    ----------
    path : path

    Returns
    -------
    TrainingLog
        Its rows are those of Caffe's parse_log.py: LearningRate is the last one that was printed
        before the row, and in the first row that of the second.

    Raises
    ------
    DataError
        If the file cannot be read, or is no log of a training.
    """
    log = TrainingLog()
    tables = {"Train": _Table(log.train), "Test": _Table(log.test)}
    iteration, rate = None, math.nan
    lines = list(dated_lines(path))
    has_times = any(not math.isnan(seconds) for seconds, _ in lines)
    for seconds, line in lines:
        if has_times and math.isnan(seconds):
            # Half a line, or what some other program wrote in between.
            continue
        if found := _ITERATION.search(line):
            iteration = int(found[1])
        if iteration is None:
            continue
        if found := _LOSS.search(line):
            log.losses.append(Point(iteration, seconds, float(found[1])))
        elif found := _RATE.search(line):
            rate = float(found[1])
            log.rates.append(Point(iteration, seconds, rate))
        elif found := _OUTPUT.search(line):
            head = {"NumIters": float(iteration), "Seconds": seconds, "LearningRate": rate}
            name = tables[found[1]].add(head, int(found[2]), found[3], float(found[4]))
            if found[5]:
                log.loss_outputs.add(name)
    if not (log.train or log.test or log.losses):
        raise DataError(
            "is not the log of a training: it has no line 'Iteration N, loss = ...'",
            where=os.fspath(path),
            help="give what 'caffe-spn train --log FILE' wrote, or what caffe train put on stderr",
        )
    for rows in (log.train, log.test):
        if len(rows) > 1:
            rows[0]["LearningRate"] = rows[1]["LearningRate"]
    return log


class _Table:
    """Puts outputs together to rows; the numbers of outputs start again in each."""

    def __init__(self, rows: list[dict]):
        self.rows = rows
        self._last = 0

    def add(self, head: dict, number: int, name: str, value: float) -> str:
        """Add an output; returns the name of its column."""
        rows = self.rows
        if not rows or number <= self._last or rows[-1]["NumIters"] != head["NumIters"]:
            rows.append(dict(head))
        self._last = number
        column, copy = name, 0
        while column in rows[-1]:
            copy += 1
            column = f"{name}_{copy}"
        rows[-1][column] = value
        return column
