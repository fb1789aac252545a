"""PyTorch's recurrence on a GPU: a loop over columns (rows), as it is and compiled."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from statistics import median

import torch
import torch.nn.functional as F

# Steps that are compiled into one piece: all of them together would take minutes.
CHUNK = 8


def steps(h: torch.Tensor, rest: torch.Tensor, gates: torch.Tensor) -> torch.Tensor:
    """The lines that follow line `h` (M, K); rest is (T, M, K), gates (3, T, M, K)."""
    out = []
    for own, g1, g2, g3 in zip(rest.unbind(), *(g.unbind() for g in gates.unbind()), strict=True):
        padded = F.pad(h, (1, 1))
        h = own + g1 * padded[:, :-2] + g2 * h + g3 * padded[:, 2:]
        out.append(h)
    return torch.stack(out)


@functools.cache
def compiled_steps() -> Callable:
    """`steps`, compiled for any number of maps and any length of a line."""
    return torch.compile(steps, dynamic=True)


def scan(x, gates, direction: int, steps=steps, chunk: int | None = None):
    """One direction; x is (N, C, H, W), gates (3, N, C, H, W), as they are."""
    order = (3, 0, 1, 2) if direction < 2 else (2, 0, 1, 3)
    lines = x.permute(order)
    shape = lines.shape
    lines = lines.reshape(shape[0], -1, shape[3])
    gates = gates.permute(0, *(axis + 1 for axis in order)).reshape(3, *lines.shape)
    if direction % 2:
        lines, gates = lines.flip(0), gates.flip(1)
    # A gate that points out of the map counts as 0.
    inside = torch.ones(3, len(lines), 1, shape[3], device=x.device)
    inside[0, :, :, 0] = inside[2, :, :, -1] = inside[:, 0] = 0
    gates = gates * inside
    rest = (1 - gates.sum(0)) * lines
    h, out = torch.zeros_like(lines[0]), []
    for t in range(0, len(lines), chunk or len(lines)):
        after = slice(t, t + (chunk or len(lines)))
        out.append(steps(h, rest[after], gates[:, after]))
        h = out[-1][-1]
    result = torch.cat(out)
    if direction % 2:
        result = result.flip(0)
    return result.reshape(shape).permute([order.index(axis) for axis in range(4)])


def propagate(x, guidance, steps=steps, chunk: int | None = None):
    """The published unit: gates normalised, four directions, the largest of each element."""
    results = []
    for direction, g in enumerate(guidance.split(3 * x.shape[1], 1)):
        g = torch.stack(g.split(x.shape[1], 1))
        g = g / g.abs().sum(0).clamp(min=1e-6)
        results.append(scan(x, g, direction, steps, chunk))
    return torch.stack(results).amax(0)


class PassOn(torch.autograd.Function):
    """x, with a guidance that gets zeros: what stands for a propagation that is left out."""

    @staticmethod
    def forward(ctx, x, guidance):
        ctx.guidance = guidance
        return x.clone()

    @staticmethod
    def backward(ctx, diff):
        return diff.clone(), torch.zeros_like(ctx.guidance)


def recorded(function: Callable[[], object]) -> Callable[[], object]:
    """What replays the function's launches as one CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            function()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return graph.replay


def microseconds(function: Callable[[], object], device: str, repeats: int = 5) -> float:
    """The median time of a call, enqueued and done."""
    function()
    return median(_elapsed(function, device) for _ in range(repeats))


def _elapsed(function: Callable[[], object], device: str) -> float:
    if device == "cpu":
        begin = time.perf_counter()
        function()
        return 1e6 * (time.perf_counter() - begin)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    function()
    end.record()
    end.synchronize()
    return 1e3 * start.elapsed_time(end)
