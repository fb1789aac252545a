"""Whole networks on a GPU, beside the same networks in PyTorch, in the same process.

Part of `python -m benchmarks.gpu`.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

import caffe_spn as caffe
from benchmarks import training_step
from benchmarks.gpu_arrays import check, torch_device
from benchmarks.gpu_clock import Clock, significant
from benchmarks.gpu_parts import Parts, markdown
from benchmarks.gpu_pass_on import left_out
from caffe_spn.memory import memory_need

FOLDER = training_step.NETWORK.parent.parent
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


class Networks:
    """The measurement.

    Parameters
    ----------
    gpu : Runtime
    clock : Clock
    parts : Parts
    quick : bool
        Tiny images, and nothing is compiled by PyTorch.
    """

    def __init__(self, gpu, clock: Clock, parts: Parts, quick: bool = False):
        self.gpu, self.clock, self.parts, self.quick = gpu, clock, parts, quick
        self.rows = rows(quick)

    def run(self) -> None:
        """Measure all networks; those that are computed on the GPU only."""
        caffe.set_mode_gpu()
        try:
            device = torch_device(self.gpu)
        except ImportError as error:
            device = None
            self.parts.notes.append(f"PyTorch's networks are left out: {error}")
        for row in self.rows:
            name = f"{row.network}, {row.what}, propagation {row.cells()[2]}"
            frozen = self.parts.attempt(name, partial(self._ours, row), 60)
            gc.collect()
            self.gpu.memory.release_held()
            if frozen is not None and device is not None:
                self._torch(row, frozen, device, name)

    def table(self) -> str:
        """Markdown."""
        return f"{markdown(HEADERS, [row.cells() for row in self.rows])}\n\n{EXPLANATION}"

    def _ours(self, row: Row) -> Frozen:
        """Measure a network of ours; returns it as it was before it trained."""
        gpu = self.gpu
        gpu.drop_scratch()
        before, gpu.memory.peak = gpu.memory.in_use, 0
        if row.training:
            definition = training_step.definition(True, row.batch, row.size)
            call, net = training_step.step_of(
                definition if row.propagation else left_out(definition)
            )
            result = np.array([net.forward_loss()], np.float32)
        else:
            net = inference_net(row)
            call = net.forward_loss
            call()
            result = net.blobs["prob"].data.reshape(-1).copy()
        frozen = Frozen(net, result)
        row.ms = self.clock.in_a_loop(call, gpu.synchronize)
        # After the first calls, which choose algorithms and record what is replayed.
        count = (gpu.launches, gpu.uploads + gpu.downloads)
        call()
        row.launches = gpu.launches - count[0]
        row.copies = gpu.uploads + gpu.downloads - count[1]
        if not row.training:  # a step waits for its loss
            row.device_ms = self.clock.time(lambda i: call()).us / 1e3
        row.peak, row.blobs = gpu.memory.peak - before, blob_bytes(net, row.training)
        row.work_space = gpu.scratch(1).nbytes
        return frozen

    def _torch(self, row: Row, frozen: Frozen, device: str, name: str) -> None:
        from benchmarks import gpu_torch, gpu_twin

        gpu_twin.as_caffe()
        loops = {"eager": {}}
        if not self.quick and row.propagation:
            loops["compiled"] = {"steps": gpu_torch.compiled_steps(), "chunk": gpu_torch.CHUNK}
        fastest = None
        for which, options in loops.items():
            measure = partial(self._twin, row, frozen, device, which, options)
            fastest = self.parts.attempt(f"PyTorch {which}: {name}", measure, 90) or fastest
        if fastest is None or device == "cpu":
            return

        def graph() -> None:
            replay = gpu_torch.recorded(fastest)
            row.torch["graph"] = self.clock.in_a_loop(replay, gpu_twin.wait(device))

        self.parts.attempt(f"PyTorch in a CUDA graph: {name}", graph, 60, optional=True)

    def _twin(self, row: Row, frozen: Frozen, device: str, which: str, options: dict) -> Callable:
        """Measure one of PyTorch's variants; returns what was measured."""
        from benchmarks import gpu_twin

        gpu_twin.reset_peak(device)
        twin = gpu_twin.Twin(frozen, device, **options)
        found = twin.loss() if row.training else twin.infer()
        check(row.what, [frozen.result], [found.reshape(-1).cpu().numpy()])
        call = twin.step() if row.training else twin.infer
        row.torch[which] = self.clock.in_a_loop(call, gpu_twin.wait(device))
        row.torch_peak = row.torch_peak or gpu_twin.peak(device)
        return call


class Frozen:
    """What `gpu_twin.Twin` needs of a net, on the host, so that the net may go or train.

    Parameters
    ----------
    net : Net
    result : array
        What the twin must compute.
    """

    def __init__(self, net, result: np.ndarray):
        self.result = result
        self.layer_params = list(net.layer_params)
        self.layers = [FrozenLayer(layer) for layer in net.layers]
        inputs = [top for p in net.layer_params if p.type == "Input" for top in p.top]
        self.blobs = {name: FrozenBlob(net.blobs[name]) for name in inputs}


class FrozenBlob:
    """A blob's values."""

    def __init__(self, blob):
        self.data = np.array(blob.data)


class FrozenLayer:
    """A layer's parameters."""

    def __init__(self, layer):
        self.type = layer.type
        self.param_propagate_down = list(layer.param_propagate_down)
        self.blobs = [FrozenBlob(blob) for blob in layer.blobs]


def inference_net(row: Row):
    """The net to deploy, for images of the row's size, with random weights and inputs."""
    net = caffe.Net(str(FOLDER / row.network / "deploy.prototxt"), caffe.TEST)
    rng = np.random.default_rng(0)
    for name, scale in (("image", 255), ("coarse", 1)):
        blob = net.blobs[name]
        blob.reshape(row.batch, blob.shape[1], row.size, row.size)
        blob.data[...] = scale * rng.random(blob.shape, np.float32)
    net.reshape()
    return net


def blob_bytes(net, training: bool) -> int:
    """Bytes of parameters and of what passes between layers; in training diffs and momentum too."""
    need = memory_need(net)
    return need.backward + need.param_diffs if training else need.forward


def _yes(met: bool) -> str:
    return "yes" if met else "no"
