"""Which layer makes what each bottom reads, in a net whose blob names may be used again."""

from __future__ import annotations

from typing import NamedTuple

from caffe_spn.proto import caffe_pb2


class Value(NamedTuple):
    """What a layer writes to one of its tops. A layer that works in place makes a new value."""

    layer: int
    top: int


class Wiring:
    """The values of a net, who makes and who reads them.

    Parameters
    ----------
    param : NetParameter
        In the new format (`layer`, not `layers`).

    Attributes
    ----------
    layers : list of LayerParameter
    reads : list of list of Value or None
        For each layer, what its bottoms read; None for a blob that no layer makes.
    """

    def __init__(self, param):
        self.layers = list(param.layer)
        self.reads: list[list[Value | None]] = []
        self._readers: dict[Value, list[int]] = {}
        newest: dict[str, Value] = {}
        self._versions: dict[str, list[Value]] = {}
        for i, layer in enumerate(self.layers):
            self.reads.append([newest.get(name) for name in layer.bottom])
            for value in self.reads[-1]:
                self._readers.setdefault(value, []).append(i)
            for j, name in enumerate(layer.top):
                newest[name] = Value(i, j)
                self._versions.setdefault(name, []).append(Value(i, j))

    def maker(self, value: Value | None):
        """The layer that makes a value; an empty one where there is none."""
        return caffe_pb2.LayerParameter() if value is None else self.layers[value.layer]

    def readers(self, value: Value) -> set[int]:
        """The indices of the layers that read a value."""
        return set(self._readers.get(value, ()))

    def name(self, value: Value) -> str:
        return self.layers[value.layer].top[value.top]

    def current(self, name: str, before: int) -> Value | None:
        """What the blob `name` holds when layer number `before` runs."""
        older = [v for v in self._versions.get(name, ()) if v.layer < before]
        return older[-1] if older else None

    def overwritten(self, value: Value) -> bool:
        """Whether a later layer writes to the blob of that name."""
        return self._versions[self.name(value)][-1] != value


def without_splits(param):
    """The net with `Split` layers taken out, their readers reading the split blob itself.

    A Split stays where one of its tops is an output of the net, has a loss, or where the blob
    it splits is written again later.
    """
    result = caffe_pb2.NetParameter()
    result.CopyFrom(param)
    wiring = Wiring(param)
    renamed: dict[Value, str] = {}
    del result.layer[:]
    for i, layer in enumerate(wiring.layers):
        copy = caffe_pb2.LayerParameter()
        copy.CopyFrom(layer)
        for j, value in enumerate(wiring.reads[i]):
            copy.bottom[j] = renamed.get(value, layer.bottom[j])
        if layer.type == "Split" and _removable(wiring, i):
            renamed.update({Value(i, j): copy.bottom[0] for j in range(len(layer.top))})
        else:
            result.layer.append(copy)
    return result


def _removable(wiring: Wiring, index: int) -> bool:
    layer, source = wiring.layers[index], wiring.reads[index][0]
    tops = [Value(index, j) for j in range(len(layer.top))]
    return (
        source is not None
        and not any(layer.loss_weight)
        and not wiring.overwritten(source)
        and all(wiring.readers(v) and not wiring.overwritten(v) for v in tops)
    )
