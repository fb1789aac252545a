"""The table of `benchmarks.gpu_recurrence`: its rows, and what this project wants to reach."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.gpu_cases import Case
from benchmarks.gpu_clock import Time, significant


@dataclass(frozen=True)
class Target:
    """At most so many microseconds, or so many times the memory bound."""

    us: float | None = None
    bounds: float | None = None

    def met(self, us: float, bound: float) -> bool:
        return us <= self.us if self.us is not None else us <= self.bounds * bound

    def __str__(self) -> str:
        if self.us is None:
            return f"{self.bounds:g} x bound"
        return f"{self.us:g} µs"


# What this project wants to reach on an H200.
TARGETS = {
    ("left-right", (1, 32, 64, 64), "forward"): Target(us=10),
    ("top-bottom", (1, 32, 64, 64), "forward"): Target(us=10),
    ("fused", (1, 32, 64, 64), "forward"): Target(us=15),
    ("fused", (1, 32, 64, 64), "forward, training"): Target(us=15),
    ("fused", (1, 32, 64, 64), "backward"): Target(us=30),
    ("left-right", (16, 8, 1024, 1024), "forward"): Target(us=800),
    ("top-bottom", (16, 8, 1024, 1024), "forward"): Target(us=800),
    ("fused", (1, 32, 1024, 1024), "forward"): Target(bounds=2),
    ("fused", (1, 32, 1024, 1024), "forward, training"): Target(bounds=2),
    ("fused", (1, 32, 1024, 1024), "backward"): Target(bounds=2.5),
}

HEADERS = [
    *("N x C x H x W", "kernel", "pass", "µs", "from cache, µs", "Python, µs"),
    *("bytes/element", "of copy", "bound, µs", "x bound", "target", "met", "registers"),
    *("line by line, µs", "x", "PyTorch eager, µs", "x", "compiled, µs", "x"),
]

EXPLANATION = """\
µs: on the device, between events around launches in a row; median. Calls take turns over sets of
arrays that together do not fit a cache; "from cache": the same arrays each time, without the
first call. Python: what enqueuing a call takes the host. * : the device waited for the host.
bytes/element: inputs and outputs, each moved once (a direction: x, 3 gates, h, and backward
h's, x's and the gates' derivatives; fused: x, 12 gates, the result, in training the winning
direction's byte, and backward the derivatives of all). bound: the time to move them at the speed
of the copy above; "of copy": bound / µs. line by line: `gpu_lines.cu`. PyTorch eager: a loop over
columns (rows); compiled: 8 steps at a time by torch.compile, then all in one CUDA graph; its
backward pass is a graph of both passes, less one of the forward pass. x: times ours."""


@dataclass
class Row:
    """A line of the table.

    Attributes
    ----------
    others : dict of str to Time
        What the same takes others, by their names.
    """

    kind: type[Case]
    shape: tuple[int, ...]
    name: str
    time: Time | None = None
    cached: Time | None = None
    registers: tuple[int, ...] = ()
    others: dict[str, Time] = field(default_factory=dict)

    def cells(self, bytes_per_us: float) -> list[str]:
        elements = self.shape[0] * self.shape[1] * self.shape[2] * self.shape[3]
        each = self.kind.bytes[self.name]
        bound = elements * each / bytes_per_us
        target = TARGETS.get((self.kind.kind, self.shape, self.name))
        cells = ["x".join(map(str, self.shape)), self.kind.kind, self.name]
        if self.time is None:
            measured = ["failed", "", "", str(each), "", significant(bound), ""]
        else:
            measured = [
                str(self.time),
                str(self.cached or ""),
                significant(self.time.enqueue_us),
                str(each),
                f"{100 * bound / self.time.us:.0f} %",
                significant(bound),
                f"{self.time.us / bound:.2f}",
            ]
        met = "" if target is None or self.time is None else target.met(self.time.us, bound)
        cells += [*measured, str(target or ""), {True: "yes", False: "no", "": ""}[met]]
        cells.append(" + ".join(map(str, self.registers)))
        for name in ("lines", "eager", "compiled"):
            other = self.others.get(name)
            cells += ["", ""] if other is None else [str(other), self._times(other)]
        return cells

    def _times(self, other: Time) -> str:
        return "" if self.time is None else f"{other.us / self.time.us:.1f}"
