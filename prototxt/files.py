"""Write a network's four files: train, test, deploy and solver prototxt."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from caffe_spn.net_spec import assign_proto
from caffe_spn.proto import caffe_pb2, text
from caffe_spn.prototxt.network import PARTS, Network, build


def contents(network: Network, snapshot_prefix: str | None = None) -> dict[str, str]:
    """File name to text of all four files.

    Parameters
    ----------
    network : Network
    snapshot_prefix : str, optional
        Where training writes to; by default ``snapshots/NAME``.
    """
    files = {f"{part}.prototxt": _net_text(network, part) for part in PARTS}
    files["solver.prototxt"] = _solver_text(network, snapshot_prefix)
    return files


def write(network: Network, folder, snapshot_prefix: str | None = None) -> list[Path]:
    """Write the files of `network` into `folder`, which is made if need be."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, content in contents(network, snapshot_prefix).items():
        paths.append(folder / name)
        paths[-1].write_text(content, encoding="utf-8")
    return paths


def _net_text(network: Network, part: str) -> str:
    net = build(network, part)
    lines = _deploy_lines(network) if part == "deploy" else _data_lines(part)
    blocks = [_head(network, part, lines), f'name: "{net.name}"\n']
    for layer in net.layer:
        section = network.sections.get(layer.name)
        if section:
            blocks.append(f"\n# {section}\n")
        blocks.append(text.to_text(caffe_pb2.NetParameter(layer=[layer])))
    return "".join(blocks)


def _data_lines(part: str) -> list[str]:
    return [
        f"The net to {part} with; solver.prototxt names it.",
        "`source`: a folder laid out as PASCAL VOC's, seen from where the training is started.",
    ]


def _deploy_lines(network: Network) -> list[str]:
    values = f"minus {', '.join(map(str, network.mean))}" if network.mean else "from 0 to 255"
    lines = ["The net to deploy.", f"image: (N, 3, H, W); blue, green, red, {values}"]
    if "coarse" in network.inputs:
        lines.append(f"coarse: (N, {network.options.classes}, H, W); probabilities")
    lines.append(f"prob: (N, {network.options.classes}, H, W)")
    return [*lines, f"H and W must be multiples of {network.multiple}."]


def _solver_text(network: Network, snapshot_prefix: str | None) -> str:
    solver = caffe_pb2.SolverParameter(
        train_net="train.prototxt",
        test_net=["test.prototxt"],
        snapshot_prefix=snapshot_prefix or f"snapshots/{network.name}",
    )
    for name, value in network.solver.items():
        assign_proto(solver, name, value)
    lines = ["The nets are looked for in the current folder, then beside this file."]
    return _head(network, "solver", lines) + text.to_text(solver)


def _head(network: Network, part: str, lines: list[str]) -> str:
    title = network.title.format(**asdict(network.options))
    notes = [network.notes[part]] if part in network.notes else []
    return "".join(f"# {line}\n" for line in [f"{title}.", *lines, *notes])
