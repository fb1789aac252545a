"""What a layer has of the GPU: its path there, or the way back to the host.

Source: `Layer::Forward_gpu` and `Layer::Backward_gpu` of BVLC Caffe.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from caffe_spn import device
from caffe_spn.training_log import logger

if TYPE_CHECKING:
    from caffe_spn.cuda.array import DeviceArray
    from caffe_spn.synced_memory import SyncedMemory

_said_on_host: set[tuple[str, str]] = set()


class GpuLayer:
    """The GPU's side of a layer; `caffe_spn.layer.Layer` inherits it.

    Notes
    -----
    A layer without a GPU path runs on the host, as in Caffe, and its blobs move by themselves; so
    does the backward pass of one that has a path forward only. A layer that has a path for some of
    its parameters calls ``super().forward_gpu`` for the others. What `forward_cpu` leaves for
    `backward_cpu` in a workspace is there only if both run on the host.
    """

    @property
    def _runs_on_gpu(self) -> bool:
        """Whether `forward` and `backward` call `forward_gpu` and `backward_gpu`.

        Kernels are for float32; float64, which is for checking gradients, stays on the host.
        """
        return device.mode() == device.GPU and self.dtype == np.float32

    def forward_gpu(self, bottom, top) -> None:
        if bottom:  # what makes data is expected on the host
            self._say_on_host("forward")
        read = {blob.data_memory for blob in bottom}
        with _only_reading(read - {blob.data_memory for blob in top}):
            self.forward_cpu(bottom, top)

    def backward_gpu(self, top, propagate_down, bottom) -> None:
        self._say_on_host("backward")
        read = {blob.data_memory for blob in (*top, *bottom)} | {blob.diff_memory for blob in top}
        with _only_reading(read - {blob.diff_memory for blob in bottom}):
            self.backward_cpu(top, propagate_down, bottom)

    def runs_behind(self, layer: GpuLayer) -> None:
        """Called once the net is built, if top 0 of `layer`, the one before, is bottom 0 here."""

    def gpu_kept_output(self) -> DeviceArray | None:
        """A copy of top 0 that this layer has kept in its last pass, if it keeps one.

        The next layer need not keep its input then. It is handed out once in each pass.
        """
        return None

    def look_ahead(self) -> None:
        """Called in GPU mode when a pass has been enqueued, while the device computes."""

    def _say_on_host(self, direction: str) -> None:
        if (self.type, direction) not in _said_on_host:
            _said_on_host.add((self.type, direction))
            logger.info("%s has no GPU path (%s); it runs on the CPU", self.type, direction)

    def gpu_workspace(self, name: str, shape: Sequence[int], dtype=np.float32) -> DeviceArray:
        """An array on the device that is this layer's own, allocated once; it grows when it must.

        Its content is whatever the last use left there.
        """
        from caffe_spn.cuda.runtime import runtime

        gpu, dtype = runtime(), np.dtype(dtype)
        count = math.prod(shape)
        owner, flat = self._gpu_workspaces.get(name, (None, None))
        if owner is not gpu or flat.size < count or flat.dtype != dtype:
            # The smaller one goes first: together they would be a peak.
            flat = self._gpu_workspaces[name] = (None, None)
            flat = gpu.array((count,), dtype)
            self._gpu_workspaces[name] = gpu, flat
        return flat.part(0, shape)


@contextmanager
def _only_reading(memories: set[SyncedMemory]) -> Iterator[None]:
    # `data` and `diff` count as written when they are read. A layer's inputs are not: what the
    # device has of them stays valid, and is not copied up again.
    from caffe_spn.cuda.runtime import runtime

    if runtime().watcher is not None:
        runtime().watcher.refuse("a layer on the host")
    ahead = {memory: memory.host_ahead for memory in memories}
    yield
    for memory, count in ahead.items():
        memory.host_ahead = min(memory.host_ahead, count)
