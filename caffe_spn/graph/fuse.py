"""Replace spelled-out spatial propagation by `SpatialPropagation` layers.

The published network spells one propagation unit out in 38 layers: a Slice of the guidance into
gates, their absolute values (AbsVal), sum (Eltwise) and its reciprocal (Divide), the normalised
gates (Eltwise PROD), four scans (GateRecurrent2dnoind) and their maximum (Eltwise MAX); a second
unit adds five more. The fused layer computes the same in one pass over memory.

Source: "Learning Affinity via Spatial Propagation Networks", Liu et al., NeurIPS 2017.
"""

from __future__ import annotations

from caffe_spn.graph.unit import NoUnit, Unit, find_unit
from caffe_spn.graph.wiring import Value, Wiring, without_splits
from caffe_spn.proto import caffe_pb2


def fuse(param, notes: list[str] | None = None):
    """The net with every spelled-out propagation unit as a `SpatialPropagation` layer.

    Units are recognised by their wiring, whatever the names of layers and blobs, the order of
    layers, and the order of the four scans; with or without Split layers. Cascaded units with
    the same gates become one layer (`units`). The fused layer takes the name and the top of the
    last Eltwise; blobs inside are gone, so a unit of which another layer reads an inner blob is
    left as it is.

    Besides the published form (three-way, sum of absolute values, maximum) all forms that
    `caffe_spn.graph.expand` writes are recognised.

    Parameters
    ----------
    param : NetParameter
        In the new format; it is not changed.
    notes : list of str, optional
        Receives a line for each unit that was left alone, with the reason.

    Returns
    -------
    NetParameter
        A new message; equal to `param` where there is nothing to fuse.

    Notes
    -----
    Forward and backward are the same but for rounding, and for the gradient where left-right
    and right-left are exactly equal and largest: it goes to left-right here, to right-left in
    Caffe's Eltwise.

    Examples
    --------
    >>> from caffe_spn.graph.expand import expand
    >>> from caffe_spn.graph.fuse import fuse
    >>> from caffe_spn.proto import caffe_pb2, text
    >>> net = text.parse(
    ...     'layer { name: "spn" type: "SpatialPropagation" bottom: "x" bottom: "g" top: "h" }',
    ...     caffe_pb2.NetParameter(), "<net>")
    >>> len(expand(net).layer), len(fuse(expand(net)).layer)
    (38, 1)
    """
    plain = without_splits(param)
    wiring = Wiring(plain)
    units = []
    for index in range(len(wiring.layers)):
        try:
            unit = find_unit(wiring, index)
        except NoUnit as reason:
            _note(notes, wiring, index, reason)
        else:
            if unit is not None:
                units.append(unit)
    chains = _chains(wiring, _closed(wiring, units, notes))
    result = caffe_pb2.NetParameter()
    result.CopyFrom(plain if chains else param)
    if chains:
        _replace(result, wiring, chains)
    return result


def _note(notes, wiring, index, reason) -> None:
    if notes is not None:
        layer = wiring.layers[index]
        notes.append(f"layer '{layer.name}' ({layer.type}): not fused: {reason}")


def _closed(wiring: Wiring, units: list[Unit], notes) -> list[Unit]:
    """Those units of which no layer outside of a unit reads an inner blob."""
    while True:
        inside = set().union(*(unit.layers for unit in units))
        open_units = []
        for unit in units:
            leak = _leak(wiring, unit, inside)
            if leak is not None:
                _note(notes, wiring, unit.join, leak)
                open_units.append(unit)
        if not open_units:
            return units
        # What they leave behind may now read what another unit would have removed.
        units = [unit for unit in units if unit not in open_units]


def _leak(wiring: Wiring, unit: Unit, inside: set[int]) -> str | None:
    for i in sorted(unit.layers - {unit.join}):
        for j, name in enumerate(wiring.layers[i].top):
            readers = wiring.readers(Value(i, j))
            if not readers:
                return f"the inner blob '{name}' is an output of the net"
            outside = sorted(readers - inside)
            if outside:
                return f"layer '{wiring.layers[outside[0]].name}' reads the inner blob '{name}'"
    for value in (unit.x, unit.guidance):
        if not _holds(wiring, value, unit.join):
            return f"the blob '{wiring.name(value)}' is overwritten before the scans are joined"
    return None


def _holds(wiring: Wiring, value: Value | None, before: int) -> bool:
    """Whether the blob of a value's name still holds it when layer `before` runs."""
    return value is None or wiring.current(wiring.name(value), before) == value


def _chains(wiring: Wiring, units: list[Unit]) -> list[list[Unit]]:
    """Units in cascades: same gates, and the map in between is read by the next unit only."""
    chains: list[list[Unit]] = []
    ends: dict[Value, list[Unit]] = {}
    for unit in units:
        chain = ends.pop(unit.x, None)
        if (
            chain is not None
            and chain[-1].rule == unit.rule
            and chain[-1].guidance_name == unit.guidance_name
            and chain[-1].guidance == unit.guidance
            and wiring.readers(unit.x) <= unit.layers
            and _holds(wiring, chain[0].x, unit.join)
        ):
            chain.append(unit)
        else:
            chain = [unit]
            chains.append(chain)
        ends[Value(unit.join, 0)] = chain
    return chains


def _replace(result, wiring: Wiring, chains: list[list[Unit]]) -> None:
    removed = set().union(*(unit.layers for chain in chains for unit in chain))
    at = {chain[-1].join: chain for chain in chains}
    del result.layer[:]
    for i, layer in enumerate(wiring.layers):
        if i in at:
            result.layer.append(_fused(layer, at[i]))
        elif i not in removed:
            result.layer.append(layer)


def _fused(join, chain: list[Unit]):
    first = chain[0]
    fused = caffe_pb2.LayerParameter(name=join.name, type="SpatialPropagation")
    fused.bottom.extend([first.x_name, first.guidance_name])
    fused.top.extend(join.top)
    connection, normalization, integration = first.rule
    wanted = fused.spatial_propagation_param
    for field, value in (
        ("connection", connection),
        ("normalization", normalization),
        ("integration", integration),
        ("units", len(chain)),
    ):
        # Defaults stay unsaid.
        if value != getattr(wanted, field):
            setattr(wanted, field, value)
    return fused
