"""The recurrence on a GPU: our kernels, one launch for each line, and PyTorch's loops.

Part of `python -m benchmarks.gpu`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from benchmarks.gpu_arrays import Random, check, torch_device
from benchmarks.gpu_cases import Case, Fused, LeftRight, Lines, TopBottom, Torch
from benchmarks.gpu_clock import COLD_BYTES, Clock, Time, significant
from benchmarks.gpu_parts import Parts, markdown
from caffe_spn.cuda import gate_recurrent, spatial_propagation
from caffe_spn.cuda.compiler import compile_cubin
from caffe_spn.cuda.recurrence import LAYOUTS, ONE_WARP, SEVERAL_WARPS, choose

KINDS: tuple[type[Case], ...] = (LeftRight, TopBottom, Fused)
# What PyTorch computes too: there all directions take as long as one.
PEERS = (LeftRight, Fused)
SHAPES = (
    (1, 32, 64, 64),
    (10, 32, 64, 64),
    (40, 32, 64, 64),
    (1, 32, 512, 512),
    (1, 32, 1024, 1024),
    (16, 8, 1024, 1024),
)
QUICK_SHAPES = ((1, 2, 8, 12), (2, 1, 5, 7))
# Every set of arrays that fits into this is also measured from the cache.
CACHED_BYTES = 16 << 20


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


class Recurrence:
    """The measurement.

    Parameters
    ----------
    random : Random
    clock : Clock
    parts : Parts
    quick : bool
        Tiny shapes, and nothing is compiled by PyTorch.
    """

    def __init__(self, random: Random, clock: Clock, parts: Parts, quick: bool = False):
        self.random, self.gpu = random, random.gpu
        self.clock, self.parts, self.quick = clock, parts, quick
        self.shapes = QUICK_SHAPES if quick else SHAPES
        self.rows = {
            (kind, shape, name): Row(kind, shape, name)
            for shape in self.shapes
            for kind in KINDS
            for name in kind.bytes
        }

    def run(self) -> None:
        """Measure everything, what matters most first."""
        if not self.quick:
            self.parts.attempt("compile the kernels", self._compile, 150)
        # Calls in turns over arrays that no cache holds; the others take too long for it to matter.
        self._for_cases("our kernels", self._ours, 60, cold=1 if self.quick else COLD_BYTES)
        self._for_cases("line by line", self._lines, 60)
        try:
            device = torch_device(self.gpu)
        except ImportError as error:
            self.parts.notes.append(f"PyTorch is left out: {error}")
            return
        self._for_cases("PyTorch eager", lambda case: self._eager(case, device), 60, PEERS)
        if self.quick:
            self.parts.notes.append("--quick: PyTorch compiles nothing")
            return
        from benchmarks.gpu_torch import compiled_steps

        compiled = compiled_steps()

        def measure(case: Case) -> None:
            self._compiled(case, device, compiled)

        # That PyTorch's compiler or its graphs fail is no failure of this.
        self._for_cases("PyTorch compiled", measure, 90, PEERS, optional=True)

    def table(self, bytes_per_us: float) -> str:
        """Markdown; `bytes_per_us` is the speed of the measured copy."""
        rows = [row.cells(bytes_per_us) for row in self.rows.values()]
        return f"{markdown(HEADERS, rows)}\n\n{EXPLANATION}"

    def _compile(self) -> None:
        """What our kernels need, side by side: each takes a while."""
        wanted = {
            (module.SOURCE, (*choose(*shape[2:], variants).options, *gates, LAYOUTS[0]))
            for module, variants, gates in (
                (gate_recurrent, gate_recurrent.VARIANTS, ()),
                (spatial_propagation, (*ONE_WARP, *SEVERAL_WARPS), ("-DGATES=3",)),
            )
            for shape in self.shapes
        }
        capability = self.gpu.device.capability
        with ThreadPoolExecutor(len(wanted)) as pool:
            list(pool.map(lambda one: compile_cubin(one[0], capability, one[1]), wanted))

    def _for_cases(
        self,
        what: str,
        measure: Callable[[Case], None],
        seconds: float,
        kinds: tuple[type[Case], ...] = KINDS,
        cold: int = 1,
        optional: bool = False,
    ) -> None:
        for shape in self.shapes:
            for kind in kinds:
                self.parts.attempt(
                    f"{what}: {kind.kind} {'x'.join(map(str, shape))}",
                    lambda k=kind, s=shape: measure(k(self.random, s, k.sets_for(s, cold))),
                    seconds,
                    optional,
                )
                self._free()

    def _free(self) -> None:
        """Give memory back, as PyTorch and we have pools of our own."""
        self.gpu.memory.release_held()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def _ours(self, case: Case) -> None:
        fits = case.sets_for(case.shape, CACHED_BYTES) > 1
        for name in case.bytes:
            row = self.rows[type(case), case.shape, name]

            def call(i: int, name=name) -> None:
                case.run(name, i)

            with registers(self.gpu) as found:
                call(0)
            row.time = self.clock.time(call)
            if fits:
                row.cached = self.clock.time(call, cached=True)
            row.registers = tuple(found)

    def _lines(self, case: Case) -> None:
        lines = Lines(case)
        for name in case.bytes:
            if name != "forward, training":
                check(name, case.results(name), lines.results(name))
                row = self.rows[type(case), case.shape, name]
                row.others["lines"] = self.clock.time(lambda i, n=name: lines.run(n))

    def _eager(self, case: Case, device: str) -> None:
        from benchmarks.gpu_torch import microseconds

        peer = Torch(case)
        for name in ("forward", "backward"):
            check(name, case.results(name), peer.results(name))
            self._other(case, name, "eager", microseconds(getattr(peer, name), device))

    def _compiled(self, case: Case, device: str, steps) -> None:
        from benchmarks.gpu_torch import CHUNK, microseconds, recorded

        peer = Torch(case, steps=steps, chunk=CHUNK)
        check("forward", case.results("forward"), peer.results("forward"))
        forward = microseconds(recorded(peer.forward), device)
        self._other(case, "forward", "compiled", forward)
        check("backward", case.results("backward"), peer.results("backward"))
        both = microseconds(recorded(peer.both), device)
        self._other(case, "backward", "compiled", both - forward)

    def _other(self, case: Case, name: str, who: str, us: float) -> None:
        self.rows[type(case), case.shape, name].others[who] = Time(us)


@contextmanager
def registers(gpu):
    """A list that gets the registers of each kernel that is launched in the block."""
    found: list[int] = []
    launch = gpu.driver.launch

    def note(function, *arguments):
        found.append(function.registers)
        return launch(function, *arguments)

    gpu.driver.launch = note
    try:
        yield found
    finally:
        del gpu.driver.launch
