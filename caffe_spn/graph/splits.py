"""Insert a Split layer wherever a blob is used more than once, so that its diffs add up.

Source: `InsertSplits` of BVLC Caffe, whose layer and blob names are kept.
"""

from __future__ import annotations

from collections import Counter

from caffe_spn.errors import PrototxtError, nearest
from caffe_spn.proto import caffe_pb2


def insert_splits(param):
    """The network in which every top has at most one consumer.

    A loss weight on a top counts as a consumer. Split layers are called
    ``BLOB_LAYER_I_split`` and their tops ``BLOB_LAYER_I_split_K``.

    Parameters
    ----------
    param : NetParameter
        Already upgraded and filtered.

    Returns
    -------
    NetParameter
        A new message.

    Raises
    ------
    PrototxtError
        If a bottom is not the top of any layer before it.
    """
    source_of, uses, loss_weight = _count_uses(param)
    result = caffe_pb2.NetParameter()
    result.CopyFrom(param)
    del result.layer[:]
    taken: Counter = Counter()
    for i, layer in enumerate(param.layer):
        copy = result.layer.add()
        copy.CopyFrom(layer)
        for j, blob in enumerate(layer.bottom):
            source = source_of[i, j]
            if uses[source] > 1:
                split = split_name(param.layer[source[0]].name, blob, source[1])
                copy.bottom[j] = f"{split}_{taken[source]}"
                taken[source] += 1
        for j, blob in enumerate(layer.top):
            if uses[i, j] > 1:
                weight = loss_weight.get((i, j), 0.0)
                _add_split(result, split_name(layer.name, blob, j), blob, uses[i, j], weight)
                if weight:
                    # The split's first top carries the loss in the layer's stead.
                    copy.ClearField("loss_weight")
                    taken[i, j] += 1
    return result


def split_name(layer: str, blob: str, top_index: int) -> str:
    """The name of the Split below top number `top_index` of a layer."""
    return f"{blob}_{layer}_{top_index}_split"


def _count_uses(param):
    last_top: dict[str, tuple[int, int]] = {}
    source_of: dict[tuple[int, int], tuple[int, int]] = {}
    uses: Counter = Counter()
    loss_weight: dict[tuple[int, int], float] = {}
    for i, layer in enumerate(param.layer):
        for j, blob in enumerate(layer.bottom):
            if blob not in last_top:
                raise unknown_bottom(layer, j, last_top)
            source_of[i, j] = last_top[blob]
            uses[last_top[blob]] += 1
        for j, blob in enumerate(layer.top):
            last_top[blob] = (i, j)
        for blob, weight in zip(layer.top, layer.loss_weight, strict=False):
            loss_weight[last_top[blob]] = weight
            if weight:
                uses[last_top[blob]] += 1
    return source_of, uses, loss_weight


def unknown_bottom(layer, index: int, known) -> PrototxtError:
    """The error for a bottom that no earlier layer makes."""
    blob = layer.bottom[index]
    near = nearest(blob, known)
    return PrototxtError(
        f"bottom {index} is '{blob}', which no layer before it makes",
        where=f"layer '{layer.name}' ({layer.type})",
        help=f"did you mean '{near}'?"
        if near
        else "check the names of the tops above it, and the include rules of their layers",
    )


def _add_split(net, name: str, blob: str, count: int, weight: float) -> None:
    split = net.layer.add(name=name, type="Split", bottom=[blob])
    split.top.extend(f"{name}_{k}" for k in range(count))
    if weight:
        split.loss_weight.extend([weight] + [0.0] * (count - 1))
