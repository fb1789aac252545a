"""Spatial propagation in four directions against a PyTorch loop over columns, in one process.

    python -m benchmarks.recurrence                         wall-clock time
    python -m benchmarks.recurrence --cpu-time --threads 1  processor time, on a busy machine

Forward is a training pass. The last column compares with the least that memory allows: the bytes
of all inputs and outputs, each moved once, at the speed of a large copy by the same threads, taken
in turns with the rest.
Lines with an asterisk were measured while the machine did something else too.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

import numpy as np

from benchmarks.timing import compare, processor_time

SHAPES = ((10, 32, 64, 64), (1, 32, 64, 64), (1, 32, 256, 256), (1, 32, 512, 512))
GATES = {"three-way": 3, "one-way": 1}
COPIED = 64 * 2**20


def torch_propagation(x, guidance, gates: int):
    """The published unit as a PyTorch user writes it: a loop over columns, or rows."""
    import torch
    import torch.nn.functional as F

    results = []
    channels = x.shape[1]
    for d, g in enumerate(guidance.split(gates * channels, dim=1)):
        g = torch.stack(g.split(channels, dim=1))
        g = g / g.abs().sum(0).clamp(min=1e-6)
        v = x
        if d < 2:
            # Steps are the last axis but one, so that each step is contiguous.
            v, g = v.transpose(2, 3), g.transpose(3, 4)
        if gates == 3:
            # A gate that points out of the map counts as 0.
            ones = torch.ones(v.shape[3])
            first, last = ones.clone(), ones.clone()
            first[0] = last[-1] = 0
            g = g * torch.stack([first, ones, last])[:, None, None, None]
        rest = ((1 - g.sum(0)) * v).unbind(2)
        steps = [part.unbind(2) for part in g]
        order = range(len(rest))[:: -1 if d % 2 else 1]
        out = [None] * len(rest)
        h = None
        for t in order:
            if h is None:
                h = v[:, :, t]
            elif gates == 3:
                p = F.pad(h, (1, 1))
                h = rest[t] + steps[0][t] * p[..., :-2] + steps[1][t] * h + steps[2][t] * p[..., 2:]
            else:
                h = rest[t] + steps[0][t] * h
            out[t] = h
        result = torch.stack(out, 2)
        results.append(result.transpose(2, 3) if d < 2 else result)
    return torch.stack(results).amax(0)


def passes(shape, connection: str) -> dict[str, tuple[Callable, Callable, int]]:
    """For each pass: ours, PyTorch's, and the bytes to be moved at least."""
    import torch

    from caffe_spn.cpu import recurrence

    gates = GATES[connection]
    rule = (list(GATES).index(connection), recurrence.SUM_ABS, recurrence.MAXIMUM)
    N, C, H, W = shape
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape, np.float32)
    guidance = rng.standard_normal((N, 4 * gates * C, H, W), np.float32)
    out_diff = rng.standard_normal(shape, np.float32)
    out, x_diff, guidance_diff = np.ones_like(x), np.ones_like(x), np.ones_like(guidance)
    argmax = np.ones(recurrence.argmax_shape(shape, recurrence.MAXIMUM), np.uint8)
    checkpoints = np.ones(recurrence.checkpoints_shape(shape, 4, np.float32), np.float32)

    xt = torch.from_numpy(x).requires_grad_()
    gt = torch.from_numpy(guidance).requires_grad_()
    graph = torch_propagation(xt, gt, gates)

    def forward():
        recurrence.propagate(x, guidance, out, *rule, argmax, checkpoints)

    def backward():
        recurrence.propagate_backward(
            x, guidance, out_diff, argmax, checkpoints, x_diff, guidance_diff, *rule
        )

    def torch_backward():
        torch.autograd.grad(graph, (xt, gt), torch.from_numpy(out_diff), retain_graph=True)

    forward()
    difference = np.abs(out - graph.detach().numpy()).max()
    assert difference < 1e-3, f"the results differ by {difference}"
    once = x.nbytes
    return {
        "forward": (
            forward,
            lambda: torch_propagation(xt, gt, gates),
            2 * once + guidance.nbytes + argmax.nbytes,
        ),
        "backward": (
            backward,
            torch_backward,
            3 * once + 2 * guidance.nbytes + argmax.nbytes,
        ),
    }


def large_copy() -> tuple[Callable, int]:
    """A copy of a large array by all threads together, and the bytes that it reads and writes."""
    import torch

    source, target = torch.ones(COPIED), torch.ones(COPIED)
    return lambda: target.copy_(source), 2 * 4 * COPIED


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cpu-time", action="store_true", help="measure processor time")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--limit", type=float, default=20.0, help="seconds for each line")
    options = parser.parse_args(argv)
    measure = processor_time if options.cpu_time else compare
    if options.cpu_time:
        # Threads that wait must sleep, or their waiting counts as work.
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    import numba
    import torch

    torch.set_num_threads(options.threads)
    numba.set_num_threads(options.threads)
    copy, copied = large_copy()
    print(
        f"{'processor' if options.cpu_time else 'wall-clock'} time,"
        f" {options.threads} thread(s), PyTorch {torch.__version__}:"
        " ours, PyTorch's, times faster, times the memory bound"
    )
    for connection in GATES:
        for shape in SHAPES:
            for name, (ours, theirs, moved) in passes(shape, connection).items():
                functions = {"ours": ours, "copy": copy, "torch": theirs}
                measured = measure(functions, options.repeats, options.limit)
                mine, other = measured["ours"], measured["torch"]
                bound = measured["copy"] * moved / copied
                mark = "*" if any(m.disturbed for m in measured.values()) else " "
                print(
                    f"{connection:9} {'x'.join(map(str, shape)):13} {name:8}{mark}"
                    f" {mine * 1e3:8.2f} ms {other * 1e3:9.2f} ms"
                    f" {other / mine:6.1f}x {mine / bound:6.2f}x",
                    flush=True,
                )


if __name__ == "__main__":
    main()
