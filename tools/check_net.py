"""Build a network for the sake of its problems, and go on behind each of them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from caffe_spn.errors import CaffeSpnError, DataError, PrototxtError, WeightsError
from caffe_spn.graph.filter import filter_net
from caffe_spn.graph.splits import unknown_bottom
from caffe_spn.net import Net
from caffe_spn.proto import caffe_pb2, text
from caffe_spn.tools.missing_data import as_input, missing_files, stated_shapes
from caffe_spn.tools.weights import load, missing_text


@dataclass
class Checked:
    """What was found out about a network in one phase.

    Attributes
    ----------
    net : Net or None
        What could be built of it.
    problems, warnings : list of CaffeSpnError
        Problems make it unusable; a warning is data that are not here.
    unreached : list of str
        Layers that could not be looked at, since they follow from a faulty one.
    stand_ins : dict of str to str
        Data layers, by name, that an Input layer stands for in `net`, and their types.
    """

    net: Net | None = None
    problems: list[CaffeSpnError] = field(default_factory=list)
    warnings: list[CaffeSpnError] = field(default_factory=list)
    unreached: list[str] = field(default_factory=list)
    stand_ins: dict[str, str] = field(default_factory=dict)


def check_net(
    param, file: str | None, allow_python: bool = True, weights: Sequence[str] = ()
) -> Checked:
    """Build a network, collecting everything that is wrong.

    Parameters
    ----------
    param : NetParameter
        Upgraded; its state says phase, level and stages.
    file : str or None
        Where it was read from.
    allow_python : bool, default True
    weights : sequence of str
        Files that must fit.
    """
    checked = Checked()
    try:
        filtered = filter_net(param)
    except CaffeSpnError as error:
        contradictory = next((x for x in param.layer if x.include and x.exclude), None)
        checked.problems.append(_placed(error, file, contradictory))
        return checked
    if not filtered.layer:
        checked.problems.append(
            PrototxtError(
                "has no layers" + (" in this phase, level and stage" if param.layer else ""),
                where=file,
                help="look at the include and exclude rules" if param.layer else None,
            )
        )
    sound = _without_unknown_bottoms(filtered, file, checked.problems)
    net, problems = _build(sound, file, allow_python)
    missing = _missing_data(sound, problems)
    if missing:
        net.close()
        for layer, files in missing:
            checked.warnings.append(_missing_warning(layer, files, file))
            checked.stand_ins[layer.name] = layer.type
            layer.CopyFrom(as_input(layer, stated_shapes(layer)))
        net, problems = _build(sound, file, allow_python)
    checked.net = net
    checked.problems = sorted(checked.problems + problems, key=_line_of)
    for path in weights:
        _check_weights(checked, path)
    faulty = " ".join(error.where or "" for error in checked.problems)
    built = set(net.layer_names)
    checked.unreached = [
        layer.name
        for layer in filtered.layer
        if layer.name not in built and f"layer '{layer.name}'" not in faulty
    ]
    return checked


def _build(param, file: str | None, allow_python: bool) -> tuple[Net, list[CaffeSpnError]]:
    problems: list[CaffeSpnError] = []
    state = param.state
    net = Net(
        param,
        state.phase,
        state.level,
        allow_python=allow_python,
        problems=problems,
        source=file,
    )
    return net, problems


def _without_unknown_bottoms(param, file: str | None, problems: list[CaffeSpnError]):
    """The network without layers that nothing feeds, and without what follows from them.

    The copies that a blob used twice needs can be inserted in such a network, so that the rest
    of it is looked at too.
    """
    sound = caffe_pb2.NetParameter()
    sound.CopyFrom(param)
    del sound.layer[:]
    known: set[str] = set()
    lost: set[str] = set()
    for layer in param.layer:
        unknown = [j for j, name in enumerate(layer.bottom) if name not in known]
        for j in unknown:
            if layer.bottom[j] not in lost:
                problems.append(_placed(unknown_bottom(layer, j, known), file, layer))
        if unknown:
            lost.update(layer.top)
        else:
            known.update(layer.top)
            sound.layer.add().CopyFrom(layer)
    return sound


def _missing_data(param, problems: list[CaffeSpnError]) -> list[tuple]:
    """Data layers whose only fault is that the data are elsewhere, with the missing files."""
    found = []
    for layer in param.layer:
        files = missing_files(layer)
        if not files or stated_shapes(layer) is None:
            continue
        where = f"layer '{layer.name}' ({layer.type})"
        if any(isinstance(e, DataError) and where in (e.where or "") for e in problems):
            found.append((layer, files))
    return found


def _missing_warning(layer, files: Sequence[str], file: str | None) -> DataError:
    return _placed(
        DataError(
            f"its data are not here ({', '.join(files)}); the shapes are those that its parameters"
            " state",
            help="to train or test, put the data there, or change the path; it starts at the"
            f" current directory, {os.getcwd()}",
        ),
        file,
        layer,
    )


def _check_weights(checked: Checked, path: str) -> None:
    try:
        without = load(checked.net, [path])
    except CaffeSpnError as error:
        checked.problems.append(error)
        return
    if without:
        checked.warnings.append(
            WeightsError(
                missing_text(without, [path]),
                help="that is right for fine-tuning, and for layers that another file has",
            )
        )


def _placed(error: CaffeSpnError, file: str | None, layer) -> CaffeSpnError:
    """The error with file, line and layer."""
    where = error.where
    if layer is not None:
        where = f"layer '{layer.name}' ({layer.type})"
        line = _line(file, layer)
        file = f"{file}:{line}" if line else file
    place = ": ".join(part for part in (file, where) if part)
    return type(error)(error.message, place or None, error.help)


def _line_of(error: CaffeSpnError) -> int:
    found = re.search(r":(\d+)", error.where or "")
    return int(found[1]) if found else 0


def _line(file: str | None, layer) -> int | None:
    try:
        return text.locate_layer(Path(file).read_text(encoding="utf-8"), layer)
    except (TypeError, OSError, UnicodeDecodeError):
        return None
