"""The layers of a network as a table: shapes, parameters, memory."""

from __future__ import annotations

from collections.abc import Mapping

from caffe_spn.memory import human, memory_need
from caffe_spn.net import TRAIN, Net


def table(net: Net, stand_ins: Mapping[str, str] | None = None) -> str:
    """One line a layer, then the sums; Split layers, which the net inserts, are left out.

    Parameters
    ----------
    net : Net
    stand_ins : mapping of str to str, optional
        Layer types to show for layers of these names, in place of the net's.
    """
    types = dict(zip(net.layer_names, (layer.type for layer in net.layers), strict=True))
    types.update(stand_ins or {})
    rows = [("layer", "type", "top shapes", "parameters", "data")]
    for index, layer in enumerate(net.layers):
        if layer.type != "Split":
            rows.append(_row(net, index, types))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = [_line(row, widths) for row in rows]
    lines.insert(1, "  " + "-" * (len(lines[0]) - 2))
    return "\n".join([*lines, "", *_sums(net)])


def _row(net: Net, index: int, types: Mapping[str, str]) -> tuple[str, ...]:
    layer, tops = net.layers[index], net.top_vecs[index]
    bottom_ids = net.bottom_id_vecs[index]
    in_place = [i for i in net.top_id_vecs[index] if i in bottom_ids]
    shapes = ", ".join("x".join(map(str, top.shape)) or "1" for top in tops)
    own = sum(
        blob.count * blob.dtype.itemsize
        for blob, i in zip(tops, net.top_id_vecs[index], strict=True)
        if i not in in_place
    )
    params = sum(blob.count for blob in layer.blobs)
    return (
        net.layer_names[index],
        types[net.layer_names[index]],
        shapes,
        f"{params:,}" if params else "",
        "in place" if in_place and not own else human(own),
    )


def _line(row, widths) -> str:
    left = "  ".join(f"{row[i]:<{widths[i]}}" for i in range(3))
    right = "  ".join(f"{row[i]:>{widths[i]}}" for i in (3, 4))
    return f"  {left}  {right}".rstrip()


def _sums(net: Net) -> list[str]:
    need = memory_need(net)
    unique = {blob.data_memory: blob.count for layer in net.layers for blob in layer.blobs}
    total = sum(unique.values())
    lines = [f"  {len(net.layers)} layers with the splits, {total:,} parameters"]
    forward = f"  memory: {human(need.data)} data + {human(need.params)} parameters"
    lines.append(f"{forward} = {human(need.forward)} to run forward")
    if need.diff and net.phase == TRAIN:
        lines.append(
            f"          + {human(need.diff)} diffs + {human(need.param_diffs)} gradients"
            f" = {human(need.backward)} to train (without the solver's histories and work space)"
        )
    return lines
