"""Which layers and bottoms take part in the backward pass, once all layers are there.

Source: the second half of `Net::Init` of BVLC Caffe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from caffe_spn.net_builder import NetBuilder


def drop_idle_backward(net: NetBuilder) -> None:
    """No backward where no loss is above, or where propagate_down cut every path from one."""
    under_loss: set[int] = set()
    cut: set[int] = set()
    for i in reversed(range(len(net.layers))):
        tops, weights = net.top_ids[i], net.layers[i].loss_weights
        contributes = any(w or t in under_loss for t, w in zip(tops, weights, strict=True))
        if not contributes or all(t in cut for t in tops):
            net.layer_need_backward[i] = False
            net.bottom_need_backward[i] = [False] * len(net.bottom_ids[i])
        if contributes:
            under_loss.update(net.bottom_ids[i])
        wanted = net.bottom_need_backward[i]
        cut.update(b for b, want in zip(net.bottom_ids[i], wanted, strict=True) if not want)


def force_backward(net: NetBuilder) -> None:
    """Backward for every layer, bottom and parameter but labels."""
    for i, layer in enumerate(net.layers):
        net.layer_need_backward[i] = True
        net.bottom_need_backward[i] = [
            wanted or layer.allow_force_backward(j)
            for j, wanted in enumerate(net.bottom_need_backward[i])
        ]
        layer.param_propagate_down = [True] * len(layer.blobs)
