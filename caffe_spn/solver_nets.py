"""Build the nets that a solver's definition asks for.

Source: `Solver::InitTrainNet` and `Solver::InitTestNets` of BVLC Caffe.
"""

from __future__ import annotations

from caffe_spn.net import Net
from caffe_spn.solver_definition import NetDefinition, SolverDefinition
from caffe_spn.training_log import info


def build_nets(definition: SolverDefinition, allow_python: bool = True) -> list[Net]:
    """The training net and the test nets, in this order, with the initial weights.

    Parameters
    ----------
    definition : SolverDefinition
    allow_python : bool, default True
        False refuses layers of type Python.

    Raises
    ------
    PrototxtError, ShapeError
        If a net cannot be built.
    WeightsError
        If a file of the field `weights` cannot be read or does not fit.
    """
    train, tests = definition.train_net(), definition.test_nets()
    weights = definition.weights()
    how = f"from {train.origin}" if train.file else f"specified in {train.origin}."
    info(f"Creating training net {how}", "solver.cpp:102")
    nets = [_build(train, weights, allow_python)]
    for index, test in enumerate(tests):
        info(f"Creating test net (#{index}) specified by {test.origin}", "solver.cpp:201")
        nets.append(_build(test, weights, allow_python))
    info("Solver scaffolding done.", "solver.cpp:57")
    return nets


def _build(definition: NetDefinition, weights: list[str], allow_python: bool) -> Net:
    state = definition.param.state
    # The solver's own debug_info decides for its nets, as in Caffe.
    definition.param.ClearField("debug_info")
    net = Net(
        definition.param,
        state.phase,
        state.level,
        allow_python=allow_python,
        source=definition.file,
    )
    for path in weights:
        info(f"Finetuning from {path}", "solver.cpp:77")
        net.copy_trained_from(path)
    return net
