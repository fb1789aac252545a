"""Whole networks on a GPU, beside the same networks in PyTorch, in the same process.

Part of `python -m benchmarks.gpu`.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial

import numpy as np

import caffe_spn as caffe
from benchmarks import training_step
from benchmarks.gpu_arrays import check, torch_device
from benchmarks.gpu_clock import Clock
from benchmarks.gpu_frozen import Frozen
from benchmarks.gpu_network_rows import EXPLANATION, HEADERS, Row, rows
from benchmarks.gpu_parts import Parts, markdown
from benchmarks.gpu_pass_on import left_out
from caffe_spn.memory import memory_need

FOLDER = training_step.NETWORK.parent.parent


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
