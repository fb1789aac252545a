"""How much memory a net needs: known from its shapes, before anything is computed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from caffe_spn.net import Net


@dataclass
class MemoryNeed:
    """Bytes by what they are for; memory that blobs share is counted once.

    Attributes
    ----------
    data : int
        What passes between layers in a forward pass.
    diff : int
        The derivatives of that, where a backward pass needs them; 0 without one.
    params, param_diffs : int
        Parameters, and the gradients of those that are trained.
    """

    data: int
    diff: int
    params: int
    param_diffs: int

    @property
    def forward(self) -> int:
        """Bytes for a forward pass alone."""
        return self.data + self.params

    @property
    def backward(self) -> int:
        """Bytes for forward and backward; a solver's histories come on top."""
        return self.data + self.diff + self.params + self.param_diffs


def memory_need(net: Net) -> MemoryNeed:
    """What the blobs of `net` take when all of them are in use; layers' work space is not known.

    Parameters
    ----------
    net : Net

    Returns
    -------
    MemoryNeed
    """
    itemsize = net.layers[0].dtype.itemsize if len(net.layers) else 4
    tops = {blob.data_memory: blob.count for blob in net._blobs}
    diffs = {}
    for i, needed in enumerate(net.layer_need_backward):
        if needed:
            diffs |= {blob.diff_memory: blob.count for blob in net.top_vecs[i]}
    params, param_diffs = {}, {}
    for layer in net.layers:
        for blob, trained in zip(layer.blobs, layer.param_propagate_down, strict=False):
            params[blob.data_memory] = blob.count
            if trained and any(net.layer_need_backward):
                param_diffs[blob.diff_memory] = blob.count
    sums = [sum(part.values()) * itemsize for part in (tops, diffs, params, param_diffs)]
    return MemoryNeed(*sums)


def human(count: float) -> str:
    """Bytes as text: '12.3 MB'."""
    if count < 1000:
        return f"{count:.0f} B"
    power = min(int(math.log10(count)) // 3, 3)
    value = count / 1000**power
    return f"{value:.{0 if value >= 100 else 1}f} {' kMG'[power]}B"
