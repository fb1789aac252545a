"""Launches ``solver_update.cu``: all parameters of a net are updated at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.runtime import THREADS, runtime

SOURCE = "solver_update.cu"
# As in solver_update.cu.
CHUNK = 4096
PARAMETER = np.dtype(
    [
        ("address", np.uint64, 4),  # data, diff, and two histories
        ("count", np.int32),
        ("lr_mult", np.float32),
        ("decay_mult", np.float32),
        ("unused", np.int32),
    ]
)
NORM_THREADS = 1024


class Parameters:
    """The parameters of a net, as the kernels find them: a table in device memory.

    Parameters
    ----------
    counts : sequence of int
        Their numbers of elements.
    """

    def __init__(self, counts: Sequence[int]):
        chunks = [(i, start) for i, n in enumerate(counts) for start in range(0, n, CHUNK)]
        self._chunks = _on_device(np.array(chunks, np.int32).reshape(-1))
        self._host = np.zeros(len(counts), PARAMETER)
        self._host["count"] = counts
        self._table: DeviceArray | None = None
        self._sums = runtime().array((len(chunks),))
        self._clip = runtime().array((2,))

    def place(
        self,
        addresses: Sequence[tuple[int, int, int, int]],
        lr_mults: Sequence[float],
        decay_mults: Sequence[float],
    ) -> None:
        """Say where they are, and how they learn.

        The table is copied to the device only when something has changed.

        Parameters
        ----------
        addresses : sequence of tuple of 4 int
            For each the data, the diff, and two histories (0 for none).
        lr_mults, decay_mults : sequence of float
            Their shares of the learning rate and of the weight decay.
        """
        before = self._host.tobytes()
        self._host["address"] = np.array(addresses, np.uint64).reshape(-1, 4)
        self._host["lr_mult"], self._host["decay_mult"] = lr_mults, decay_mults
        if self._table is None or self._host.tobytes() != before:
            # If there is no room, the old one must not be taken the next time.
            self._table = None
            self._table = _on_device(self._host.view(np.uint8))

    def zero_diffs(self) -> None:
        """Set all diffs to 0."""
        if self._sums.size:
            self._launch("zero_diffs")

    def find_clip(self, limit: float) -> DeviceArray:
        """What brings the norm of all diffs to `limit`: a scale, at most 1; and the norm itself.

        Returns
        -------
        DeviceArray of 2
            For `update`; nothing has been waited for.
        """
        count = self._sums.size
        if count:
            self._launch("sum_squares", self._sums)
        runtime().launch(
            SOURCE, "find_clip", 1, NORM_THREADS, self._sums, count, float(limit), self._clip
        )
        return self._clip

    def update(
        self,
        rule: str,
        rate: float,
        settings: Sequence[float],
        scale: float = 1.0,
        weight_decay: float = 0.0,
        regularization_type: str = "L2",
        clip: DeviceArray | None = None,
    ) -> None:
        """Subtract a step from all parameters, and leave it in their diffs.

        Parameters
        ----------
        rule : str
            A function of `caffe_spn.update_rules`.
        rate : float
        settings : sequence of float
            What that function takes after the rate.
        scale : float, default 1
            What diffs are multiplied by first.
        weight_decay : float, default 0
        regularization_type : {'L2', 'L1'}
        clip : DeviceArray, optional
            From `find_clip`.
        """
        if rule == "adam":
            beta1, beta2, _, count = settings
            rate *= math.sqrt(1 - beta2**count) / (1 - beta1**count)
            settings = settings[:3]
        if self._sums.size:
            first = (clip, float(rate), float(scale), float(weight_decay))
            is_l1 = regularization_type == "L1"
            self._launch(rule, *first, is_l1, *(float(s) for s in settings))

    def _launch(self, kernel: str, *arguments) -> None:
        tables = self._table, self._chunks
        runtime().launch(SOURCE, kernel, self._sums.size, THREADS, *tables, *arguments)


def _on_device(values: np.ndarray) -> DeviceArray:
    gpu = runtime()
    target = gpu.array(values.shape, values.dtype)
    if values.size:
        gpu.upload(target, values)
    return target
