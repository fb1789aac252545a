"""Batches that a data layer uploads on a stream of their own, while the device computes.

The next batch is copied to page-locked memory, and from there to a second array on the device, by
the copy stream. When its turn comes the compute stream waits for that, which has long happened, and
copies it within the device to where the network reads it: at an address that never changes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.device.opened import Runtime
from caffe_spn.cuda.device.staging import MOST_BYTES, Buffer


class Feed:
    """The way of one data layer's batches to the device; one batch at a time is on it.

    Parameters
    ----------
    gpu : Runtime
    count : int
        How many arrays of a batch are wanted, the first ones.
    dtype : numpy dtype, default float32
        What they are converted to.

    Attributes
    ----------
    under_way : bool
        Whether a batch was sent that has not been received.
    """

    def __init__(self, gpu: Runtime, count: int, dtype=np.float32):
        self.gpu = gpu
        self.under_way = False
        self._count, self._dtype = count, np.dtype(dtype)
        self._buffers: list[Buffer] = []
        self._arrays: list[DeviceArray] = []
        self._arrived, self._taken = gpu.event(), gpu.event()

    def send(self, batch: Sequence[np.ndarray]) -> bool:
        """Start to upload a batch; its arrays may change at once.

        Returns
        -------
        bool
            False if it is too large for page-locked memory: nothing was sent.
        """
        gpu, batch = self.gpu, batch[: self._count]
        if not all(0 < values.size * self._dtype.itemsize <= MOST_BYTES for values in batch):
            return False
        self._make_room([values.shape for values in batch])
        gpu.wait(self._taken, gpu.copy_stream)
        for values, buffer, array in zip(batch, self._buffers, self._arrays, strict=True):
            memory = buffer.free(gpu, array.nbytes)[: array.nbytes]
            memory = memory.view(array.dtype).reshape(array.shape)
            np.copyto(memory, values, casting="unsafe")
            gpu.upload(array, memory, gpu.copy_stream)
            gpu.record(buffer.taken, gpu.copy_stream)
        gpu.record(self._arrived, gpu.copy_stream)
        self.under_way = True
        return True

    def receive(self, targets: Sequence[DeviceArray]) -> None:
        """Let the batch that was sent be copied to `targets`, in the compute stream's order."""
        self.gpu.wait(self._arrived)
        for target, array in zip(targets, self._arrays, strict=False):
            self.gpu.copy(target, array)
        self.gpu.record(self._taken)
        self.under_way = False

    def drop(self) -> None:
        """Give the memory up; a batch that is under way is lost."""
        if self._arrays and not self.gpu.closed and self.gpu.driver.lost is None:
            # Who gets the memory next computes in it after the upload. Garbage may be collected at
            # any time, also while a graph is captured.
            self.gpu.wait(self._arrived, self.gpu.main_stream)
        self.under_way = False
        self._arrays, self._buffers = [], []

    def _make_room(self, shapes: list[tuple[int, ...]]) -> None:
        if [array.shape for array in self._arrays] != shapes:
            self.drop()
            self._arrays = [self.gpu.array(shape, self._dtype) for shape in shapes]
            self._buffers = [Buffer() for _ in shapes]
            # What the memory's last user enqueued comes before the first upload.
            self.gpu.record(self._taken)
