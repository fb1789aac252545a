"""Recognise one spelled-out propagation unit, from the Eltwise that joins its scans upwards."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from caffe_spn.graph.wiring import Value, Wiring
from caffe_spn.proto.caffe_pb2 import EltwiseParameter, SpatialPropagationParameter

THREE_WAY, ONE_WAY = SpatialPropagationParameter.THREE_WAY, SpatialPropagationParameter.ONE_WAY
SUM_ABS, CLIP, NONE = (
    SpatialPropagationParameter.SUM_ABS,
    SpatialPropagationParameter.CLIP,
    SpatialPropagationParameter.NONE,
)
DIRECTION_NAMES = ("left-right", "right-left", "top-bottom", "bottom-top")
# Beside its own parameter, what a layer may say and still be replaced.
PLAIN_FIELDS = {"name", "type", "bottom", "top", "phase"}


class NoUnit(Exception):
    """Four scans are joined, but not as a propagation unit; says why not."""


class Unit(NamedTuple):
    """One propagation unit: what it reads, how it computes, and the layers that spell it out."""

    join: int
    x: Value | None
    x_name: str
    guidance: Value | None
    guidance_name: str
    rule: tuple[int, int, int]
    layers: frozenset[int]


class Gates(NamedTuple):
    """The gates of one scan before they were normalised."""

    raw: list[Value]
    connection: int
    normalization: int
    layers: set[int]


def find_unit(wiring: Wiring, index: int) -> Unit | None:
    """The unit whose scans layer `index` joins; None if it joins no scans.

    Raises
    ------
    NoUnit
        If it joins scans, but not those of a propagation unit.
    """
    join = wiring.layers[index]
    reads = wiring.reads[index]
    if join.type != "Eltwise" or any(wiring.maker(v).type != "GateRecurrent2dnoind" for v in reads):
        return None
    scans = [v.layer for v in reads]
    if len(scans) != 4:
        raise NoUnit(f"it joins {len(scans)} scans, not 4")
    integration = _integration(join.eltwise_param)
    by_direction = {_direction(wiring.layers[s]): s for s in scans}
    if len(by_direction) != 4:
        missing = [n for d, n in enumerate(DIRECTION_NAMES) if d not in by_direction]
        raise NoUnit(f"the scan {missing[0]} is missing")
    if (
        len({wiring.reads[s][0] for s in scans}) != 1
        or len({wiring.layers[s].bottom[0] for s in scans}) != 1
    ):
        raise NoUnit("the four scans do not read the same map")
    gates = [_gates(wiring, by_direction[d]) for d in range(4)]
    if len({(g.connection, g.normalization) for g in gates}) != 1:
        raise NoUnit("the gates of the four directions are normalised differently")
    slice_index = _check_slice(wiring, [v for g in gates for v in g.raw])
    layers = {index, slice_index, *scans}.union(*(g.layers for g in gates))
    _check_plain(wiring, layers)
    return Unit(
        join=index,
        x=wiring.reads[scans[0]][0],
        x_name=wiring.layers[scans[0]].bottom[0],
        guidance=wiring.reads[slice_index][0],
        guidance_name=wiring.layers[slice_index].bottom[0],
        rule=(gates[0].connection, gates[0].normalization, integration),
        layers=frozenset(layers),
    )


def _integration(param) -> int:
    coefficients = set(param.coeff)
    if param.operation == EltwiseParameter.MAX:
        return SpatialPropagationParameter.MAX
    if param.operation == EltwiseParameter.SUM and coefficients <= {1}:
        return SpatialPropagationParameter.SUM
    if param.operation == EltwiseParameter.SUM and coefficients == {0.25}:
        return SpatialPropagationParameter.MEAN
    raise NoUnit("the scans are joined neither by MAX, nor by a sum or mean")


def _direction(scan) -> int:
    param = scan.gaterecurrent2dnoind_param
    return (0 if param.horizontal else 2) + (1 if param.reverse else 0)


def _gates(wiring: Wiring, scan: int) -> Gates:
    """Trace a scan's gates back to the Slice."""
    reads = wiring.reads[scan][1:]
    layers = set()
    connection = THREE_WAY
    if _is_zero(wiring, reads[0]) and _is_zero(wiring, reads[2]):
        connection = ONE_WAY
        layers |= {reads[0].layer, reads[2].layer}
        reads = reads[1:2]
    if all(wiring.maker(v).type == "Slice" for v in reads):
        return Gates(reads, connection, NONE, layers)
    raw, divisors = [], set()
    for value in reads:
        gate, divisor = _product(wiring, value)
        raw.append(gate)
        divisors.add(divisor)
        layers |= {value.layer, divisor.layer}
    if len(divisors) != 1:
        raise NoUnit("the gates of one scan are divided by different sums")
    divisor = divisors.pop()
    if wiring.maker(divisor).divide_param.alpha != 1:
        raise NoUnit("a Divide layer has an alpha other than 1")
    total, normalization = wiring.reads[divisor.layer][0], SUM_ABS
    if wiring.maker(total).type == "Power":
        total, inner = _clipped(wiring, total)
        normalization = CLIP
        layers |= inner
    summed, inner = _absolute_values(wiring, total)
    if sorted(summed, key=str) != sorted(raw, key=str):
        raise NoUnit("the gates are not divided by the sum of their own absolute values")
    return Gates(raw, connection, normalization, layers | inner)


def _product(wiring: Wiring, value: Value) -> tuple[Value, Value]:
    """The gate and the reciprocal whose product a normalised gate is."""
    maker = wiring.maker(value)
    if maker.type == "Eltwise" and maker.eltwise_param.operation == EltwiseParameter.PROD:
        factors = wiring.reads[value.layer]
        if len(factors) == 2:
            for gate, divisor in (factors, factors[::-1]):
                if wiring.maker(divisor).type == "Divide" and wiring.maker(gate).type == "Slice":
                    return gate, divisor
    raise NoUnit("a gate is neither a slice, nor a slice times the top of a Divide layer")


def _absolute_values(wiring: Wiring, total: Value) -> tuple[list[Value], set[int]]:
    """The values whose absolute values add up to `total`, and the layers in between."""
    layers, terms = set(), [total]
    maker = wiring.maker(total)
    if maker.type == "Eltwise":
        param = maker.eltwise_param
        if param.operation != EltwiseParameter.SUM or not set(param.coeff) <= {1}:
            raise NoUnit("the absolute values of the gates are not added up")
        layers, terms = {total.layer}, wiring.reads[total.layer]
    if any(wiring.maker(t).type != "AbsVal" for t in terms):
        raise NoUnit("a Divide layer reads something else than a sum of absolute values")
    layers |= {t.layer for t in terms}
    return [wiring.reads[t.layer][0] for t in terms], layers


def _clipped(wiring: Wiring, value: Value) -> tuple[Value, set[int]]:
    """What max(., 1) was computed from, where it is spelled out as relu(. - 1) + 1."""
    up = value
    rectified = wiring.reads[up.layer][0]
    relu = wiring.maker(rectified)
    if relu.type == "ReLU" and relu.relu_param.negative_slope == 0:
        down = wiring.reads[rectified.layer][0]
        if _shifts_by(wiring.maker(up), 1) and _shifts_by(wiring.maker(down), -1):
            layers = {up.layer, rectified.layer, down.layer}
            return wiring.reads[down.layer][0], layers
    raise NoUnit("a Power layer between the sum and its reciprocal is not part of max(s, 1)")


def _shifts_by(layer, shift: float) -> bool:
    param = layer.power_param
    return layer.type == "Power" and (param.power, param.scale, param.shift) == (1, 1, shift)


def _is_zero(wiring: Wiring, value: Value | None) -> bool:
    """Whether a Power layer makes nothing but zeros."""
    maker = wiring.maker(value)
    param = maker.power_param
    return maker.type == "Power" and param.scale == 0 and param.shift == 0 and param.power > 0


def _check_slice(wiring: Wiring, gates: list[Value]) -> int:
    """The Slice that makes exactly these gates, in this order and in equal parts of axis 1."""
    slices = {v.layer for v in gates}
    if len(slices) != 1:
        raise NoUnit("the gates come from more than one Slice")
    index = slices.pop()
    layer = wiring.layers[index]
    if len(layer.top) != len(gates):
        raise NoUnit(f"the Slice has {len(layer.top)} tops for {len(gates)} gates")
    if [v.top for v in gates] != list(range(len(gates))):
        raise NoUnit(
            "the gates are not in the guidance in the order of the directions"
            f" {', '.join(DIRECTION_NAMES)}"
        )
    param = layer.slice_param
    axis = param.slice_dim if param.HasField("slice_dim") else param.axis
    if axis not in (1, -3):
        raise NoUnit("the Slice does not slice channels")
    points = [0, *param.slice_point]
    steps = {b - a for a, b in pairwise(points)}
    if len(steps) > 1:
        raise NoUnit("the Slice does not make equal parts")
    return index


def _check_plain(wiring: Wiring, layers: set[int]) -> None:
    """Refuse layers with rules, weights or settings of their own that fusing would lose."""
    for i in sorted(layers):
        layer = wiring.layers[i]
        for field, _ in layer.ListFields():
            own = field.name.endswith("_param") and field.name != "transform_param"
            if field.name not in PLAIN_FIELDS and not own:
                raise NoUnit(f"layer '{layer.name}' has the field '{field.name}'")
