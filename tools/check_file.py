"""What to check in a file: a network in its phases, or a solver with all its networks."""

from __future__ import annotations

import os
from collections.abc import Iterator

from caffe_spn.errors import CaffeSpnError, PrototxtError, WeightsError
from caffe_spn.graph.filter import filter_net
from caffe_spn.graph.upgrade import upgrade
from caffe_spn.layer import layer_class
from caffe_spn.proto import caffe_pb2, text
from caffe_spn.proto.lexer import LexicalError, tokens
from caffe_spn.tools.check_net import Checked, check_net

PHASES = {"TRAIN": caffe_pb2.TRAIN, "TEST": caffe_pb2.TEST}


def check_file(path: str, options) -> Iterator[tuple[str, Checked]]:
    """Check one prototxt.

    Parameters
    ----------
    path : str
    options : namespace
        Of the command: phase, level, stage, weights, no_python_layers.

    Yields
    ------
    tuple of str and Checked
        What it is about, such as 'TRAIN', and what was found.
    """
    try:
        if is_solver(path):
            yield from _check_solver(path, options)
        else:
            yield from _check_network(path, options)
    except CaffeSpnError as error:
        where = error.where or ""
        if path not in where:
            error = type(error)(error.message, f"{path}: {where}".strip(": "), error.help)
        yield "", Checked(problems=[error])


def is_solver(path: str) -> bool:
    """Whether a file's outermost fields are rather a solver's than a network's."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            content = file.read()
        fields = _outermost(content)
    except (OSError, LexicalError):
        # Reading it as a network says what is wrong.
        return False
    solver, net = (
        {field.name for field in message.DESCRIPTOR.fields}
        for message in (caffe_pb2.SolverParameter, caffe_pb2.NetParameter)
    )
    return len(fields & (solver - net)) > len(fields & (net - solver))


def _outermost(content: str) -> set[str]:
    fields, depth = set(), 0
    for token in tokens(content):
        if token.text in ("{", "<"):
            depth += 1
        elif token.text in ("}", ">"):
            depth -= 1
        elif token.kind == "identifier" and depth == 0:
            fields.add(token.text)
    return fields


def _check_network(path: str, options) -> Iterator[tuple[str, Checked]]:
    dropped: list[str] = []
    definition, _ = upgrade(text.read(path, caffe_pb2.NetParameter), dropped)
    phases = [options.phase] if options.phase else _phases(definition, options)
    for phase in phases:
        _set_state(definition, PHASES[phase], options)
        checked = check_net(definition, path, *_common(options))
        checked.warnings += _dropped_warnings(dropped, path)
        yield phase, checked


def _dropped_warnings(dropped: list[str], path: str) -> list[CaffeSpnError]:
    """What the upgrade of an old definition could not keep."""
    help = "Caffe drops it too; write the network with caffe-spn upgrade_net_proto_text"
    return [PrototxtError(f"dropped: {line}", path, help) for line in dropped]


def _set_state(definition, phase: int, options) -> None:
    definition.state.phase = phase
    definition.state.level = options.level
    for stage in options.stage:
        if stage not in definition.state.stage:
            definition.state.stage.append(stage)


def _common(options) -> tuple[bool, list[str]]:
    return not options.no_python_layers, list(options.weights)


def _phases(definition, options) -> list[str]:
    """The phases in which a network makes sense."""
    rules = [rule for layer in definition.layer for rule in (*layer.include, *layer.exclude)]
    if not any(rule.HasField("phase") for rule in rules):
        return ["TRAIN" if any(map(_is_loss, definition.layer)) else "TEST"]
    found = []
    for name, phase in PHASES.items():
        _set_state(definition, phase, options)
        try:
            layers = filter_net(definition).layer
        except CaffeSpnError:
            # Building it says why.
            return [name]
        # Without data the other phase was never meant.
        if any(not layer.bottom for layer in layers):
            found.append(name)
    return found or ["TEST"]


def _is_loss(layer_param) -> bool:
    try:
        known = getattr(layer_class(layer_param.type), "is_loss", False)
    except CaffeSpnError:
        known = False
    return known or any(layer_param.loss_weight)


def _check_solver(path: str, options) -> Iterator[tuple[str, Checked]]:
    from caffe_spn.solver_definition import SolverDefinition

    definition = SolverDefinition(path)
    settings = Checked(problems=_settings_problems(definition))
    allow_python, weights = _common(options)
    weights = weights or definition.weights()
    for name in [name for name in weights if not os.path.isfile(name)]:
        settings.problems.append(WeightsError("there are no such weights", where=name))
        weights.remove(name)
    nets = []
    for title, make in (
        ("training net", lambda: [definition.train_net()]),
        ("test net", definition.test_nets),
    ):
        try:
            nets += [(title, net) for net in make()]
        except CaffeSpnError as error:
            settings.problems.append(error)
    for title, net in nets:
        try:
            dropped: list[str] = []
            upgraded, _ = upgrade(net.param, dropped)
        except CaffeSpnError as error:
            settings.problems.append(error)
            continue
        stated = ", ".join(upgraded.state.stage)
        name = (
            f"{title} {net.file or '(inside the solver)'}{f', stages {stated}' if stated else ''}"
        )
        checked = check_net(upgraded, net.file or path, allow_python, weights)
        checked.warnings += _dropped_warnings(dropped, net.file or path)
        yield name, checked
    yield "settings", settings


def _settings_problems(definition) -> list[CaffeSpnError]:
    from caffe_spn.solver import solver_class

    try:
        solver_class(definition).check(definition)
    except CaffeSpnError as error:
        return [error]
    return []
