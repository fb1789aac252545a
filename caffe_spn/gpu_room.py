"""What to change, and by how much, when a net does not fit on the GPU.

The estimate: all that layers pass on to each other, and their work space so far, is in proportion
to the batch; parameters, histories, other nets and other processes are not. How much work space the
rest of the layers needs is not known, so what is named is an upper bound.
"""

from __future__ import annotations

from dataclasses import dataclass

from caffe_spn.errors import CaffeSpnError
from caffe_spn.proto import caffe_pb2
from caffe_spn.synced_memory import SyncedMemory

TRAIN = caffe_pb2.TRAIN

_INSTEAD = "compute on the CPU (set_mode_cpu(), no --gpu)"


@dataclass(frozen=True)
class Room:
    """What a net takes on the GPU, and what there is, in bytes.

    Attributes
    ----------
    batch : int
        Images, or whatever the first data blob of the net has on its first axis.
    each : float
        For one of them.
    available : int
        For all of them: what is free, and what they have.
    """

    batch: int
    each: float
    available: int

    @property
    def most(self) -> int:
        """The largest batch that may fit; less than the one that did not."""
        return max(0, min(int(self.available / self.each), self.batch - 1))

    @property
    def share(self) -> float:
        """The share of one of them that may fit."""
        return max(0.0, min(self.available / self.each, 0.99))


def advise(error: CaffeSpnError, net) -> None:
    """Let an error for want of memory on the GPU say how large a batch may be; leave others.

    Parameters
    ----------
    error : CaffeSpnError
        Its `help` is replaced.
    net : Net
        What ran.
    """
    from caffe_spn.cuda.device.driver import OutOfDeviceMemory

    if not isinstance(error, OutOfDeviceMemory):
        return
    room = _room(net, error.fixed)
    if room is None:
        return
    if room.most:
        makes_up = "; iter_size of the solver makes up for it" if net.phase == TRAIN else ""
        error.help = (
            f"use a smaller batch: by the sizes of the blobs at most {room.most} instead of"
            f" {room.batch}, in a net that is made anew{makes_up}; or smaller images, or {_INSTEAD}"
        )
    elif room.share >= 0.01:
        error.help = (
            "use smaller images (for refine, a smaller tile): by the sizes of the blobs at most"
            f" {room.share:.0%} of the pixels, one image at a time; or {_INSTEAD}"
        )
    else:
        error.help = f"no batch fits beside what is there: {_INSTEAD}"


def _room(net, fixed: int) -> Room | None:
    from caffe_spn.cuda.runtime import runtime

    batch = next((t[0].shape[0] for t in net.top_vecs if len(t) and t[0].shape), 0)
    passed_on = _passed_on(net)
    gpu = runtime()
    work = sum(_work_space(layer) for layer in net.layers)
    need = sum(passed_on.values()) + work
    if not (batch and need):
        return None
    # What stays whatever the batch is: all else that is there, and parameters that are to come.
    have = sum(_nbytes(memory) for memory in passed_on if memory.on_device) + work
    params = {blob.data_memory for blob in (*net.learnable_params, *net.history_blobs)}
    if net.phase == TRAIN:
        params |= {blob.diff_memory for blob in net.learnable_params}
    to_come = fixed + sum(_nbytes(memory) for memory in params if not memory.on_device)
    free, _ = gpu.driver.memory_info()
    return Room(batch, need / batch, free + gpu.memory.held + have - to_come)


def _passed_on(net) -> dict[SyncedMemory, int]:
    """Bytes of all tops and of their diffs; memory that blobs share counts once."""
    found = {blob.data_memory: blob.count * blob.dtype.itemsize for blob in net._blobs}
    for tops, needed in zip(net.top_vecs, net.layer_need_backward, strict=True):
        for top in tops if needed else ():
            # A net for tests could run backward, and most do not.
            if net.phase == TRAIN or top.diff_memory.on_device:
                found[top.diff_memory] = top.count * top.dtype.itemsize
    return found


def _work_space(layer) -> int:
    return sum(flat.nbytes for _, flat in layer._gpu_workspaces.values() if flat is not None)


def _nbytes(memory: SyncedMemory) -> int:
    return memory.capacity * memory.dtype.itemsize
