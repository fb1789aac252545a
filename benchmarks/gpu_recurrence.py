"""The recurrence on a GPU: our kernels, one launch for each line, and PyTorch's loops.

Part of `python -m benchmarks.gpu`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from benchmarks.gpu_arrays import Random, check, torch_device
from benchmarks.gpu_cases import Case, Fused, LeftRight, TopBottom
from benchmarks.gpu_clock import COLD_BYTES, Clock, Time
from benchmarks.gpu_parts import Parts, markdown
from benchmarks.gpu_peers import Lines, Torch
from benchmarks.gpu_recurrence_rows import EXPLANATION, HEADERS, Row
from caffe_spn.cuda import gate_recurrent, spatial_propagation
from caffe_spn.cuda.compiling.compiler import compile_cubin
from caffe_spn.cuda.recurrence import LAYOUTS, ONE_WARP, SEVERAL_WARPS, choose

KINDS: tuple[type[Case], ...] = (LeftRight, TopBottom, Fused)
# What PyTorch computes too: one of the two is enough there.
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
                check(name, case.results(name), lines.results(name), case.spared)
                row = self.rows[type(case), case.shape, name]
                row.others["lines"] = self.clock.time(lambda i, n=name: lines.run(n))

    def _eager(self, case: Case, device: str) -> None:
        from benchmarks.gpu_torch import microseconds

        peer = Torch(case)
        for name in ("forward", "backward"):
            check(name, case.results(name), peer.results(name), case.spared)
            self._other(case, name, "eager", microseconds(getattr(peer, name), device))

    def _compiled(self, case: Case, device: str, steps) -> None:
        from benchmarks.gpu_torch import CHUNK, microseconds, recorded

        peer = Torch(case, steps=steps, chunk=CHUNK)
        check("forward", case.results("forward"), peer.results("forward"), case.spared)
        forward = microseconds(recorded(peer.forward), device)
        self._other(case, "forward", "compiled", forward)
        check("backward", case.results("backward"), peer.results("backward"), case.spared)
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
