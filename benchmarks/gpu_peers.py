"""What our kernels are compared with, on the arrays of a `gpu_cases.Case`."""

from __future__ import annotations

import numpy as np

from benchmarks import gpu_lines
from benchmarks.gpu_arrays import head, poison, tensor, tensor_head
from benchmarks.gpu_cases import Case, Fused


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
