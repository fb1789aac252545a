"""Let one net use the parameters of another, as test nets use those of the net that is trained.

Source: `Net::ShareTrainedLayersWith` of BVLC Caffe.
"""

from __future__ import annotations

from caffe_spn.errors import WeightsError


def share(net, other) -> None:
    """Let `net` use the parameters of the layers of equal name in `other`, in the same memory.

    Parameters
    ----------
    net, other : Net
        Layers that only one of them has are left as they are.

    Raises
    ------
    WeightsError
        Listing every parameter whose shape or number differs; nothing is shared then.
    """
    mine = {}
    for name, layer in zip(net.layer_names, net.layers, strict=True):
        # Of several layers of one name, Caffe takes the first.
        mine.setdefault(name, layer)
    pairs = []
    misfits = []
    for name, layer in zip(other.layer_names, other.layers, strict=True):
        if name not in mine:
            continue
        theirs, ours = layer.blobs, mine[name].blobs
        if [b.shape for b in theirs] != [b.shape for b in ours]:
            misfits.append(
                f"layer '{name}': {[b.shape for b in theirs]} against"
                f" {[b.shape for b in ours]} here"
            )
        pairs += zip(ours, theirs, strict=False)
    if misfits:
        raise WeightsError(
            "parameters cannot be shared:\n" + "\n".join(misfits),
            help="the layers of equal name must have equal shapes",
        )
    for ours, theirs in pairs:
        ours.share_data(theirs)
