"""The table of `benchmarks.gpu_networks`: its rows, and what this project wants to reach."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.gpu_clock import significant

MIB = 2**20

HEADERS = [
    *("network", "what", "propagation", "ms", "of the device, ms", "launches", "copies"),
    *("peak, MiB", "blobs, MiB", "work space, MiB", "peak / both"),
    *("PyTorch eager, ms", "compiled, ms", "CUDA graph, ms", "fastest / ours"),
    *("PyTorch's peak, MiB", "target", "met"),
]

EXPLANATION = """\
ms: a call in a loop of many, with what the host does; the data is on the device. of the device:
its work alone, all of it enqueued before. launches: kernels, and calls of NVIDIA's libraries that
compute; copies: arrays copied to and from the host. peak: the most that the pool of device memory
held. blobs: parameters and what passes between layers, in training with diffs and momentum; work
space: what all layers share. PyTorch eager: its loop over columns without a compiler; compiled: the
loop compiled 8 steps at a time; CUDA graph: everything, with that loop, in one graph; its peak is
of tensors. All compute in float32 without TF32."""


@dataclass
class Row:
    """A network, and what was measured of it.

    Attributes
    ----------
    target_ms, target_times : float, optional
        At most so many milliseconds; at least so many times faster than PyTorch's fastest.
    torch : dict of str to float
        Milliseconds of PyTorch's variants.
    """

    network: str
    training: bool
    batch: int
    size: int
    propagation: bool = True
    target_ms: float | None = None
    target_times: float | None = None
    ms: float | None = None
    device_ms: float | None = None
    launches: int = 0
    copies: int = 0
    peak: int = 0
    blobs: int = 0
    work_space: int = 0
    torch: dict[str, float] = field(default_factory=dict)
    torch_peak: int = 0

    @property
    def what(self) -> str:
        kind = "training step" if self.training else "inference"
        return f"{kind}, {self.batch} x {self.size}x{self.size}"

    def cells(self) -> list[str]:
        cells = [self.network, self.what, "in both" if self.propagation else "left out of both"]
        if self.ms is None:
            cells += ["failed", *[""] * 7]
        else:
            cells += [significant(self.ms)]
            cells.append("" if self.device_ms is None else significant(self.device_ms))
            cells += [str(self.launches), str(self.copies)]
            needed = (self.blobs, self.work_space)
            cells += [f"{part / MIB:.0f}" for part in (self.peak, *needed)]
            cells.append(f"{self.peak / sum(needed):.2f}")
        for name in ("eager", "compiled", "graph"):
            cells.append(significant(self.torch[name]) if name in self.torch else "")
        ratio = self._ratio()
        cells.append("" if ratio is None else f"{ratio:.2f}")
        cells.append(f"{self.torch_peak / MIB:.0f}" if self.torch_peak else "")
        return [*cells, self._target(), self._met(ratio)]

    def _ratio(self) -> float | None:
        if self.ms is None or not self.torch:
            return None
        return min(self.torch.values()) / self.ms

    def _target(self) -> str:
        if self.target_ms is not None:
            return f"{self.target_ms:g} ms"
        return "" if self.target_times is None else f"{self.target_times:g} times"

    def _met(self, ratio: float | None) -> str:
        if self.target_ms is not None:
            return "" if self.ms is None else _yes(self.ms <= self.target_ms)
        return "" if None in (ratio, self.target_times) else _yes(ratio >= self.target_times)


def rows(quick: bool) -> list[Row]:
    """The networks, with what this project wants to reach on an H200."""
    size, patch, batch = (32, 32, 1) if quick else (512, 128, 40)
    step = {"network": "helen_spn", "training": True, "batch": batch, "size": patch}
    return [
        Row("helen_spn", False, 1, size, target_ms=1.5),
        Row("voc_spn", False, 1, size, target_ms=8),
        Row(**step, target_times=5),
        Row(**step, propagation=False, target_times=1),
    ]


def _yes(met: bool) -> str:
    return "yes" if met else "no"
