"""What `benchmarks.gpu_recurrence` measures: our kernels, and the others on the same arrays."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np

from benchmarks import gpu_lines
from benchmarks.gpu_arrays import Random, head, poison, tensor, tensor_head
from caffe_spn.cuda import gate_recurrent, spatial_propagation
from caffe_spn.cuda.array import DeviceArray

FLOAT = 4


class Case:
    """A kernel at a shape, with arrays for several calls in turns.

    Parameters
    ----------
    random : Random
    shape : (N, C, H, W)
    sets : int
        Into how many sets of arrays the calls are spread.

    Attributes
    ----------
    bytes : dict of str to int
        For each pass, the bytes that must be moved for each element of x, each once.
    outputs : dict of str to tuple of str
        For each pass, the arrays that it writes and that are compared.
    """

    kind: str
    bytes: dict[str, int]
    outputs: dict[str, tuple[str, ...]]

    def __init__(self, random: Random, shape, sets: int = 1):
        self.gpu, self.shape = random.gpu, tuple(shape)
        self.sets = [self._arrays(random) for _ in range(sets)]
        for i in range(sets):
            self.forward_training(i)

    @classmethod
    def sets_for(cls, shape, cold_bytes: int) -> int:
        """Sets of arrays that together do not fit a cache of `cold_bytes`."""
        each = math.prod(shape) * max(cls.bytes.values())
        return max(1, math.ceil(cold_bytes / each))

    def _arrays(self, random: Random) -> SimpleNamespace:
        raise NotImplementedError

    def forward_training(self, i: int) -> None:
        """What a backward pass needs."""
        raise NotImplementedError

    def run(self, name: str, i: int) -> None:
        """Enqueue call `i` of a pass."""
        getattr(self, name.replace(", ", "_"))(i)

    def results(self, name: str) -> list[np.ndarray]:
        """What a pass computes, with NaN where it computes nothing."""
        arrays = [getattr(self.sets[0], output) for output in self.outputs[name]]
        poison(self.gpu, *arrays)
        self.run(name, 0)
        return [head(self.gpu, array) for array in arrays]

    def _empty(self, *shape: int, dtype=np.float32) -> DeviceArray:
        return self.gpu.array(shape, dtype)


class LeftRight(Case):
    """GateRecurrent2dnoind: x and three gates; backward their derivatives, with h."""

    kind, direction = "left-right", 0
    bytes = {"forward": 5 * FLOAT, "backward": 10 * FLOAT}
    outputs = {"forward": ("h",), "backward": ("x_diff", "d1", "d2", "d3")}

    def _arrays(self, random):
        diffs = {name: self._empty(*self.shape) for name in ("x_diff", "d1", "d2", "d3")}
        return SimpleNamespace(
            x=random.normal(*self.shape),
            gates=[random.gate(*self.shape) for _ in range(3)],
            h=self._empty(*self.shape),
            h_diff=random.normal(*self.shape),
            **diffs,
        )

    def forward(self, i):
        s = self.sets[i % len(self.sets)]
        gate_recurrent.forward(s.x, *s.gates, s.h, self.direction)

    forward_training = forward

    def backward(self, i):
        s = self.sets[i % len(self.sets)]
        outputs = (s.x_diff, s.d1, s.d2, s.d3)
        gate_recurrent.backward(s.x, *s.gates, s.h, s.h_diff, *outputs, self.direction)


class TopBottom(LeftRight):
    """The same along rows, which lie in memory as they are scanned."""

    kind, direction = "top-bottom", 2


class Fused(Case):
    """SpatialPropagation: twelve gates, normalised; four directions, and the largest of them."""

    kind = "fused"
    bytes = {
        "forward": 14 * FLOAT,
        "forward, training": 14 * FLOAT + 1,
        "backward": 27 * FLOAT + 1,
    }
    outputs = {
        "forward": ("out",),
        "forward, training": ("out",),
        "backward": ("x_diff", "guidance_diff"),
    }

    def _arrays(self, random):
        N, C, H, W = self.shape
        made = SimpleNamespace(
            x=random.normal(*self.shape),
            guidance=random.normal(N, 12 * C, H, W),
            out=self._empty(*self.shape),
            winners=self._empty(*self.shape, dtype=np.uint8),
            kept=self._empty(*spatial_propagation.checkpoints_shape(self.shape, 4)),
            out_diff=random.normal(*self.shape),
            x_diff=self._empty(*self.shape),
        )
        made.guidance_diff = self._empty(*made.guidance.shape)
        return made

    def forward(self, i):
        s = self.sets[i % len(self.sets)]
        spatial_propagation.propagate(s.x, s.guidance, s.out)

    def forward_training(self, i):
        s = self.sets[i % len(self.sets)]
        spatial_propagation.propagate(s.x, s.guidance, s.out, argmax=s.winners, checkpoints=s.kept)

    def backward(self, i):
        s = self.sets[i % len(self.sets)]
        spatial_propagation.propagate_backward(
            s.x, s.guidance, s.out_diff, s.winners, s.kept, s.x_diff, s.guidance_diff
        )


class Lines:
    """The same by one launch for each line, on the case's first arrays.

    Parameters
    ----------
    case : Case
    """

    def __init__(self, case: Case):
        self.case, self.gpu = case, case.gpu
        self.arrays = case.sets[0]
        self.fused = isinstance(case, Fused)
        # Of its own, as the one-line kernels change it.
        self.h_diff = self.gpu.array(case.shape)
        if self.fused:
            self.unit = gpu_lines.Propagation(case.shape, training=True)

    def run(self, name: str, i: int = 0) -> None:
        s = self.arrays
        if name == "backward":
            self._backward(s)
        elif self.fused:
            self.unit.forward(s.x, s.guidance, s.out)
        else:
            gpu_lines.scan(s.x, *s.gates, s.h, self.case.direction)

    def _backward(self, s) -> None:
        if self.fused:
            self.unit.backward(s.x, s.guidance, s.out_diff, s.x_diff, s.guidance_diff)
            return
        outputs = (s.x_diff, s.d1, s.d2, s.d3)
        gpu_lines.scan_backward(s.x, *s.gates, s.h, self.h_diff, *outputs, self.case.direction)

    def results(self, name: str) -> list[np.ndarray]:
        arrays = [getattr(self.arrays, output) for output in self.case.outputs[name]]
        if self.fused:
            self.run("forward")
        else:
            self.gpu.copy(self.h_diff, self.arrays.h_diff)
        poison(self.gpu, *arrays)
        self.run(name)
        return [head(self.gpu, array) for array in arrays]


class Torch:
    """The same by PyTorch, on the case's first arrays.

    Parameters
    ----------
    case : Case
    steps, chunk
        As for `benchmarks.gpu_torch.scan`.
    """

    def __init__(self, case: Case, **options):
        import torch

        from benchmarks import gpu_torch

        s, gpu = case.sets[0], case.gpu
        self.autograd = torch.autograd
        self.fused = isinstance(case, Fused)
        with_gates = [s.guidance] if self.fused else s.gates
        self.inputs = [tensor(gpu, a).requires_grad_() for a in (s.x, *with_gates)]
        self.diff = tensor(gpu, s.out_diff if self.fused else s.h_diff)
        self.no_grad = torch.no_grad

        def unit(x, *gates):
            if self.fused:
                return gpu_torch.propagate(x, *gates, **options)
            return gpu_torch.scan(x, torch.stack(gates), case.direction, **options)

        self.unit = unit
        self._graph = None

    def forward(self):
        with self.no_grad():
            return self.unit(*self.inputs)

    def backward(self):
        """Of one forward pass, whose graph is kept."""
        if self._graph is None:
            self._graph = self.unit(*self.inputs)
        return self.autograd.grad(self._graph, self.inputs, self.diff, retain_graph=True)

    def both(self):
        """Forward and backward."""
        return self.autograd.grad(self.unit(*self.inputs), self.inputs, self.diff)

    def results(self, name: str) -> list[np.ndarray]:
        found = self.both() if name == "backward" else [self.forward()]
        return [tensor_head(t) for t in found]
