"""caffe-spn train: train a network, or go on from a snapshot."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import sys
from collections.abc import Sequence

from caffe_spn.errors import CaffeSpnError, DeviceError
from caffe_spn.proto import caffe_pb2
from caffe_spn.signals import EFFECTS
from caffe_spn.tools import arguments
from caffe_spn.training_log import info


def parser() -> arguments.Parser:
    parser = arguments.Parser(
        "train",
        """
        Train the network that a solver prototxt names. On a terminal a progress bar shows loss,
        learning rate and the time that is left; elsewhere the lines are those of 'caffe train'.

        Snapshots go to the solver's snapshot_prefix, whose folder is made when it is missing.
        After a crash or a stop, '--resume auto' goes on from the newest one, and the result is
        the same, bit for bit, as without the interruption. Ctrl-C finishes the iteration, takes
        a snapshot and stops; a hang-up (SIGHUP) takes a snapshot and goes on.

        Without --gpu the solver's solver_mode and device_id choose; where they ask for a GPU that
        cannot be used, a warning says why and the CPU computes.
        """,
        """
        caffe-spn train --solver solver.prototxt --log run.log
        caffe-spn train --solver solver.prototxt --resume auto
        caffe-spn train --solver solver.prototxt --weights vgg16.caffemodel
        """,
        exit_codes="exit codes: 0 trained, 1 an error, 2 wrong usage,"
        " 130 stopped by a signal before max_iter",
    )
    parser.add_argument("--solver", required=True, metavar="FILE", help="the solver prototxt")
    start = parser.add_argument_group("where to start")
    arguments.add_weights(start, "initial weights")
    start.add_argument("--snapshot", metavar="FILE", help="a .solverstate to go on from")
    start.add_argument(
        "--resume",
        metavar="auto",
        choices=("auto",),
        help="'auto': go on from the newest snapshot under snapshot_prefix, if there is one",
    )
    parser.add_argument(
        "--iterations",
        type=arguments.positive,
        metavar="N",
        help="the solver's max_iter, replaced",
    )
    parser.add_argument(
        "--log",
        metavar="FILE",
        help="append Caffe's log lines there; beside it, the same as JSON lines (.jsonl) and, at"
        " the end, the curves (.png, with matplotlib)",
    )
    for name, default, what in (("sigint", "stop", "Ctrl-C"), ("sighup", "snapshot", "a hang-up")):
        parser.add_argument(
            f"--{name}_effect",
            choices=EFFECTS,
            default=default,
            help=f"what {what} does; a second Ctrl-C stops at once ({default})"
            if name == "sigint"
            else f"what {what} does ({default})",
        )
    arguments.add_engine(parser)
    return parser


def main(argv: Sequence[str]) -> int:
    options = parser().parse_args(argv)
    _refuse_several(options.gpu)
    arguments.choose_device(options.gpu)
    if options.snapshot and (options.weights or options.resume):
        raise CaffeSpnError(
            "--snapshot goes on from one state, and was given with --weights or --resume",
            help="a snapshot has its own weights; name one starting point",
        )
    from caffe_spn.tools.train_output import TrainOutput

    with TrainOutput(options.log) as output:
        return _train(options, output)


def _train(options, output) -> int:
    from caffe_spn.solver import get_solver
    from caffe_spn.solver_definition import SolverDefinition
    from caffe_spn.tools.weights import load

    weights = options.weights
    definition = SolverDefinition(options.solver)
    param = definition.param
    if options.iterations:
        param.max_iter = options.iterations
    if options.level or options.stage:
        param.train_state.level = options.level
        param.train_state.stage.extend(options.stage)
    state = options.snapshot
    if options.resume:
        state = newest_snapshot(param.snapshot_prefix)
    if weights and not state:
        # As in newer versions of Caffe, weights named here stand in for the solver's own.
        del param.weights[:]
    if options.gpu is None:
        _choose_solvers_device(param)
    arguments.say_device("caffe.cpp:197", "caffe.cpp:204")
    solver = get_solver(
        definition, create_snapshot_dir=True, allow_python=not options.no_python_layers
    )
    try:
        if weights and not state:
            info(f"Finetuning from {', '.join(weights)}", "caffe.cpp:88")
            without = load(solver.net, weights)
            if without:
                output.say(f"trained from scratch: {', '.join(without)}")
        output.follow(solver)
        solver.handle_signals(options.sigint_effect, options.sighup_effect)
        if state:
            info(f"Resuming from {state}", "caffe.cpp:245")
            solver.restore(state)
        elif options.resume:
            output.say(f"no snapshot at {param.snapshot_prefix} yet; starting from the beginning")
        info("Starting Optimization", "caffe.cpp:251")
        solver.solve()
        info("Optimization Done.", "caffe.cpp:254")
        finished = solver.iter >= param.max_iter
    finally:
        solver.close()
    output.finish(solver, finished)
    return 0 if finished else 130


def _refuse_several(chosen: Sequence[int] | str | None) -> None:
    if chosen is None:
        return
    if chosen == "all":
        arguments.choose_device([0])
        from caffe_spn.cuda.runtime import runtime

        chosen = range(len(runtime().driver.devices()))
    count = len(chosen)
    if count > 1:
        raise DeviceError(
            f"--gpu names {count} GPUs; a training runs on one",
            help=f"name one, e.g. --gpu {chosen[0]}; with iter_size: {count} in the solver a step"
            f" takes as many images as on {count} GPUs",
        )


def _choose_solvers_device(param) -> None:
    """Without --gpu the solver decides, as in Caffe: solver_mode and device_id."""
    if not (param.HasField("solver_mode") and param.solver_mode == caffe_pb2.SolverParameter.GPU):
        return
    # Files that ask for a GPU train on machines without one, after a warning: see
    # `SolverDefinition.check`.
    with contextlib.suppress(DeviceError):
        arguments.choose_device([max(param.device_id, 0)])


def newest_snapshot(prefix: str) -> str | None:
    """The .solverstate (or .solverstate.h5) of `prefix` with the highest iteration, or None."""
    found = {}
    for path in glob.glob(glob.escape(prefix) + "_iter_*.solverstate*"):
        match = re.fullmatch(r"_iter_(\d+)\.solverstate(\.h5)?", path[len(prefix) :])
        if match:
            # Of two forms of one iteration, the one that was written last.
            found[path] = (int(match[1]), os.path.getmtime(path))
    return max(found, key=found.get) if found else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
