"""The loss of a net: the sum of all tops that have a `loss_weight`, each times its weight.

Source: `Layer::Forward` and `Net::ForwardFromTo` of BVLC Caffe.
"""

from __future__ import annotations

import math

import numpy as np

from caffe_spn.blob import Blob


class WeightedLoss:
    """Collects the loss of one forward pass after the other.

    Notes
    -----
    A number on the device is copied to page-locked memory as soon as its layer has computed it,
    and nobody waits for the copy before `value` does. What layers enqueue meanwhile, such as the
    backward pass, is not waited for.
    """

    def __init__(self):
        # Numbers, and (slot, weight) for those that are still on their way.
        self._terms: list[float | tuple[int, np.ndarray]] = []
        self._gpu = None
        self._slots: np.ndarray | None = None
        self._copied = None

    def start(self) -> None:
        """Begin a forward pass."""
        self._terms.clear()

    def add(self, blob: Blob) -> None:
        """Add a top's values, each times its diff: that is where the loss weight is kept."""
        if blob.count == 1 and blob.data_memory.device_ahead:
            self._terms.append((self._copy(blob), blob.cpu_diff.ravel().copy()))
        else:
            self._terms.append(float(np.dot(blob.cpu_data.ravel(), blob.cpu_diff.ravel())))

    def _copy(self, blob: Blob) -> int:
        from caffe_spn.cuda.runtime import runtime

        gpu, slot = runtime(), len(self._terms)
        if self._gpu is not gpu:
            self._gpu, self._slots, self._copied = gpu, None, gpu.event()
        if self._slots is None or slot >= len(self._slots):
            # The copies under way belong into the memory that they were given.
            gpu.synchronize()
            before, self._slots = self._slots, gpu.pinned((slot + 8,), blob.dtype)
            if before is not None:
                self._slots[: len(before)] = before
        target = self._slots[slot : slot + 1]
        gpu.download(target, blob.data_memory.device_as_it_is.part(0, (1,)), gpu.stream)
        gpu.record(self._copied)
        return slot

    def value(self) -> float:
        """The sum, in the order of the layers."""
        if any(isinstance(term, tuple) for term in self._terms):
            self._gpu.synchronize(self._copied)
        loss = 0.0
        for term in self._terms:
            if isinstance(term, tuple):
                slot, weight = term
                term = float(np.dot(self._slots[slot : slot + 1], weight))
            loss += term
        if self._gpu is not None and math.isnan(loss):
            # A wrong label, perhaps.
            from caffe_spn.cuda.faults import raise_found

            raise_found(everywhere=True)
        return loss
