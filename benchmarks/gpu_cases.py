"""What `benchmarks.gpu_recurrence` measures: our kernels, with arrays of their own."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np

from benchmarks.gpu_arrays import Random, head, poison
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
    spared : float
        The share of elements in which others may compute something else.
    """

    kind: str
    bytes: dict[str, int]
    outputs: dict[str, tuple[str, ...]]
    spared = 0.0

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
    # Where two directions are nearly equal, rounding decides which of them gets the derivative.
    # That is one element of millions, and its neighbours; a line at the edge is more than this.
    spared = 3e-4

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
