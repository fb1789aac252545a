"""Setting the diffs of a net's parameters to zero: one launch for all that are on a GPU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from caffe_spn.blob import Blob


class ZeroDiffs:
    """Sets diffs to zero where they are newest; the table of those on the device is kept.

    Parameters
    ----------
    blobs : sequence of Blob
    """

    def __init__(self, blobs: Sequence[Blob]):
        self._blobs = blobs
        self._gpu = self._parameters = None
        self._counts: list[int] = []

    def run(self) -> None:
        """Set them to zero; the table is copied up where it has changed, nothing else is."""
        on_device = []
        for blob in self._blobs:
            if blob.diff_memory.device_ahead >= blob.count > 0 and blob.dtype == np.float32:
                on_device.append(blob)
            else:
                blob.zero_diff()
        if not on_device:
            return
        from caffe_spn.cuda.device.driver import OutOfDeviceMemory

        try:
            self._launch(on_device)
        except OutOfDeviceMemory:
            # Without room for the table: it may be the CPU that goes on from here.
            self._counts = []
            for blob in on_device:
                blob.zero_diff()

    def _launch(self, blobs: Sequence[Blob]) -> None:
        from caffe_spn.cuda.runtime import runtime
        from caffe_spn.cuda.solver_update import Parameters

        counts = [blob.count for blob in blobs]
        if self._gpu is not runtime() or self._counts != counts:
            self._parameters = None  # its memory may be what the new one gets
            self._parameters = Parameters(counts)
            self._gpu, self._counts = runtime(), counts
        unused = [0] * len(blobs)
        addresses = [(0, blob.new_gpu_diff.address, 0, 0) for blob in blobs]
        self._parameters.place(addresses, unused, unused)
        self._parameters.zero_diffs()
