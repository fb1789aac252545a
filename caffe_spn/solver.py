"""The solver types: SGD with momentum, Nesterov, AdaGrad, RMSProp, AdaDelta, Adam.

Each class says how a gradient becomes a step; the order of things around it is SGDSolver's, and the
training loop `caffe_spn.training`'s. Formulas: `caffe_spn.update_rules`.

Source: `SGDSolver` and the classes derived from it in BVLC Caffe.
"""

from __future__ import annotations

from caffe_spn.errors import nearest
from caffe_spn.sgd_solver import SGDSolver
from caffe_spn.solver_definition import SolverDefinition
from caffe_spn.training import Solver

__all__ = [
    "AdaDeltaSolver",
    "AdaGradSolver",
    "AdamSolver",
    "NesterovSolver",
    "RMSPropSolver",
    "SGDSolver",
    "Solver",
    "get_solver",
]


class NesterovSolver(SGDSolver):
    """Nesterov's accelerated gradient."""

    type = "Nesterov"
    rule = "nesterov"


class AdaGradSolver(SGDSolver):
    """Steps divided by the root of the sum of all squared gradients so far; no momentum."""

    type = "AdaGrad"
    rule = "adagrad"

    @classmethod
    def check(cls, definition):
        super().check(definition)
        cls._refuse_momentum(definition)

    def _settings(self):
        return (self.param.delta,)


class RMSPropSolver(SGDSolver):
    """Steps divided by the root of a running mean (`rms_decay`) of squared gradients."""

    type = "RMSProp"
    rule = "rmsprop"

    @classmethod
    def check(cls, definition):
        super().check(definition)
        cls._refuse_momentum(definition)
        cls._check_fraction(definition, "rms_decay")

    def _settings(self):
        return self.param.rms_decay, self.param.delta


class AdaDeltaSolver(SGDSolver):
    """Steps in the ratio of running means (`momentum`) of squared steps and gradients."""

    type = "AdaDelta"
    rule = "adadelta"
    histories = 2

    def _settings(self):
        return self.param.momentum, self.param.delta


class AdamSolver(SGDSolver):
    """Running means of gradients (`momentum`) and squared gradients (`momentum2`)."""

    type = "Adam"
    rule = "adam"
    histories = 2

    @classmethod
    def check(cls, definition):
        super().check(definition)
        cls._check_fraction(definition, "momentum")
        cls._check_fraction(definition, "momentum2")

    def _settings(self):
        param = self.param
        return param.momentum, param.momentum2, param.delta, self.iter + 1


SOLVERS = {
    cls.type: cls
    for cls in (
        SGDSolver,
        NesterovSolver,
        AdaGradSolver,
        RMSPropSolver,
        AdaDeltaSolver,
        AdamSolver,
    )
}


def get_solver(source, create_snapshot_dir: bool = False, allow_python: bool = True) -> Solver:
    """The solver of the type that the definition names; parameters as in `Solver`.

    Examples
    --------
    >>> solver = get_solver("solver.prototxt")  # doctest: +SKIP
    >>> solver.solve()  # doctest: +SKIP

    Raises
    ------
    PrototxtError
        If the type is unknown, or as `Solver` does.
    """
    given = isinstance(source, SolverDefinition)
    definition = source if given else SolverDefinition(source)
    return solver_class(definition)(definition, create_snapshot_dir, allow_python)


def solver_class(definition: SolverDefinition) -> type[Solver]:
    """The class that a definition's type names; its `check` looks at the rest of the settings.

    Raises
    ------
    PrototxtError
        If the type is unknown, with the nearest name.
    """
    kind = definition.param.type
    if kind not in SOLVERS:
        near = nearest(kind, SOLVERS)
        raise definition.error(
            f"unknown solver type '{kind}'",
            help=f"did you mean '{near}'?" if near else f"one of: {', '.join(SOLVERS)}",
        )
    return SOLVERS[kind]
