"""Spell `SpatialPropagation` layers out in the layer types of the original SPN fork of Caffe.

For deployments that know GateRecurrent2dnoind and Divide, but not the fused layer.

Source: "Learning Affinity via Spatial Propagation Networks", Liu et al., NeurIPS 2017.
"""

from __future__ import annotations

from caffe_spn.errors import PrototxtError
from caffe_spn.proto import caffe_pb2
from caffe_spn.proto.caffe_pb2 import EltwiseParameter, SpatialPropagationParameter

# Names of the directions and whether they scan columns, and backwards.
DIRECTIONS = (
    ("lr", True, False),
    ("rl", True, True),
    ("tb", False, False),
    ("bt", False, True),
)


def expand(param):
    """The net with every `SpatialPropagation` layer spelled out; the inverse of `fuse`.

    Layer and blob names begin with the layer's name: ``spn_lr_g1`` (a gate), ``spn_lr_n1`` (the
    same, normalised), ``spn_u1_lr`` (a scan of unit 1), ``spn_u1`` (what unit 1 makes). The last
    join has the name and the top of the fused layer. Weights elsewhere in the net keep their
    layers' names, so that a trained model fits both forms.

    CLIP becomes relu(s - 1) + 1 before the division; a one-way scan gets gates of zeros from a
    Power layer with scale 0.

    Parameters
    ----------
    param : NetParameter
        In the new format; it is not changed.

    Returns
    -------
    NetParameter
        A new message.

    Raises
    ------
    PrototxtError
        If a name that is needed is taken, or the layer says `units: 0`.
    """
    result = caffe_pb2.NetParameter()
    result.CopyFrom(param)
    del result.layer[:]
    taken = {layer.name for layer in param.layer} | {t for layer in param.layer for t in layer.top}
    for layer in param.layer:
        if layer.type == "SpatialPropagation":
            result.layer.extend(_Expansion(layer, taken).layers)
        else:
            result.layer.append(layer)
    return result


class _Expansion:
    """The layers that one fused layer becomes."""

    def __init__(self, fused, taken: set[str]):
        self.fused = fused
        self.taken = taken
        self.param = fused.spatial_propagation_param
        self.layers: list = []
        self.numbers = (
            (2,) if self.param.connection == SpatialPropagationParameter.ONE_WAY else (1, 2, 3)
        )
        if self.param.units < 1:
            raise self._error("units is 0; it must be at least 1", "remove the layer")
        if len(fused.bottom) != 2 or len(fused.top) != 1:
            raise self._error(
                f"has {len(fused.bottom)} bottoms and {len(fused.top)} tops, not 2 and 1",
                "name x and guidance as bottoms, and one top",
            )
        self._slice()
        gates = {name: self._gates(name) for name, _, _ in DIRECTIONS}
        x = fused.bottom[0]
        for unit in range(1, self.param.units + 1):
            x = self._unit(unit, x, gates)

    def _error(self, message: str, help: str) -> PrototxtError:
        return PrototxtError(
            message, where=f"layer '{self.fused.name}' (SpatialPropagation)", help=help
        )

    def _add(self, suffix: str, layer_type: str, *bottoms: str, last: bool = False):
        """A layer whose only top has its own name; the last one has the fused layer's."""
        name = self.fused.name if last else f"{self.fused.name}_{suffix}"
        if not last and name in self.taken:
            raise self._error(
                f"spelling it out needs the name '{name}', which is taken",
                "rename that layer or blob, or this layer",
            )
        layer = caffe_pb2.LayerParameter(name=name, type=layer_type, bottom=bottoms)
        layer.top.append(self.fused.top[0] if last else name)
        self._copy_rules(layer)
        self.layers.append(layer)
        return layer

    def _copy_rules(self, layer) -> None:
        # A fused layer that exists only in some phase is spelled out only there.
        layer.include.extend(self.fused.include)
        layer.exclude.extend(self.fused.exclude)
        if self.fused.HasField("phase"):
            layer.phase = self.fused.phase

    def _slice(self) -> None:
        # Without slice points the parts are equal, whatever the number of channels.
        layer = self._add("slice", "Slice", self.fused.bottom[1])
        del layer.top[:]
        for direction, _, _ in DIRECTIONS:
            layer.top.extend(f"{self.fused.name}_{direction}_g{i}" for i in self.numbers)
        layer.slice_param.axis = 1
        for name in layer.top:
            if name in self.taken:
                raise self._error(f"spelling it out needs the blob '{name}'", "rename that blob")

    def _gates(self, direction: str) -> list[str]:
        """Normalise one direction's gates; the names of the three that its scans read."""
        raw = [f"{self.fused.name}_{direction}_g{i}" for i in self.numbers]
        ready = raw
        if self.param.normalization != SpatialPropagationParameter.NONE:
            reciprocal = self._reciprocal(direction, raw)
            ready = []
            for i, gate in zip(self.numbers, raw, strict=True):
                layer = self._add(f"{direction}_n{i}", "Eltwise", gate, reciprocal)
                layer.eltwise_param.operation = EltwiseParameter.PROD
                ready.append(layer.top[0])
        if len(ready) == 3:
            return ready
        zero = self._add(f"{direction}_zero", "Power", raw[0])
        zero.power_param.scale = 0
        return [zero.top[0], ready[0], zero.top[0]]

    def _reciprocal(self, direction: str, raw: list[str]) -> str:
        """1 / s, or 1 / max(s, 1)."""
        terms = [
            self._add(f"{direction}_abs{i}", "AbsVal", gate).top[0]
            for i, gate in zip(self.numbers, raw, strict=True)
        ]
        total = terms[0]
        if len(terms) > 1:
            layer = self._add(f"{direction}_sum", "Eltwise", *terms)
            layer.eltwise_param.operation = EltwiseParameter.SUM
            total = layer.top[0]
        if self.param.normalization == SpatialPropagationParameter.CLIP:
            down = self._add(f"{direction}_over", "Power", total)
            down.power_param.shift = -1
            relu = self._add(f"{direction}_excess", "ReLU", down.top[0])
            up = self._add(f"{direction}_clip", "Power", relu.top[0])
            up.power_param.shift = 1
            total = up.top[0]
        return self._add(f"{direction}_div", "Divide", total).top[0]

    def _unit(self, unit: int, x: str, gates: dict[str, list[str]]) -> str:
        scans = []
        for direction, horizontal, reverse in DIRECTIONS:
            layer = self._add(f"u{unit}_{direction}", "GateRecurrent2dnoind", x, *gates[direction])
            layer.gaterecurrent2dnoind_param.horizontal = horizontal
            layer.gaterecurrent2dnoind_param.reverse = reverse
            scans.append(layer.top[0])
        last = unit == self.param.units
        join = self._add(f"u{unit}", "Eltwise", *scans, last=last)
        if self.param.integration == SpatialPropagationParameter.MAX:
            join.eltwise_param.operation = EltwiseParameter.MAX
        else:
            join.eltwise_param.operation = EltwiseParameter.SUM
        if self.param.integration == SpatialPropagationParameter.MEAN:
            join.eltwise_param.coeff.extend([0.25] * 4)
        if last:
            join.loss_weight.extend(self.fused.loss_weight)
        return join.top[0]
