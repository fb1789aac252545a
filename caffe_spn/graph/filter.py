"""Keep the layers that belong to a phase, a level and a set of stages.

Source: `Net::FilterNet` and `Net::StateMeetsRule` of BVLC Caffe.
"""

from __future__ import annotations

from caffe_spn.errors import PrototxtError
from caffe_spn.proto import caffe_pb2


def meets(state, rule) -> bool:
    """Whether a NetState satisfies a NetStateRule; an empty rule is always met."""
    if rule.HasField("phase") and rule.phase != state.phase:
        return False
    if rule.HasField("min_level") and state.level < rule.min_level:
        return False
    if rule.HasField("max_level") and state.level > rule.max_level:
        return False
    stages = set(state.stage)
    return stages.issuperset(rule.stage) and stages.isdisjoint(rule.not_stage)


def filter_net(param):
    """The network with only the layers whose include and exclude rules its state meets.

    Parameters
    ----------
    param : NetParameter
        `param.state` holds phase, level and stages.

    Returns
    -------
    NetParameter
        A new message; `param` is left as it is.

    Raises
    ------
    PrototxtError
        If a layer has include and exclude rules at once.
    """
    filtered = caffe_pb2.NetParameter()
    filtered.CopyFrom(param)
    del filtered.layer[:]
    for layer in param.layer:
        if layer.include and layer.exclude:
            raise PrototxtError(
                "has include and exclude rules; a layer takes one kind of them",
                where=f"layer '{layer.name}' ({layer.type})",
                help="say with include rules alone when the layer is there",
            )
        rules = layer.include or layer.exclude
        matched = any(meets(param.state, rule) for rule in rules)
        if not rules or matched == bool(layer.include):
            filtered.layer.add().CopyFrom(layer)
    return filtered
