"""Write a solver's snapshot, and let a solver go on from one.

The files themselves are the business of `caffe_spn.snapshot`.
"""

from __future__ import annotations

import contextlib
import os

from caffe_spn import random, training_log
from caffe_spn import snapshot as files
from caffe_spn.non_finite import check_parameters
from caffe_spn.proto import caffe_pb2


def save(solver) -> training_log.Snapshot:
    """Write weights, additional state and solver state, in this order.

    The solver state comes last, so that one that exists never lacks its companions.

    Raises
    ------
    WeightsError
        If they cannot be written; earlier snapshots are untouched.
    TrainingError
        If a parameter is not finite: a broken state is never written.
    """
    check_parameters(solver.net, solver.history, solver.iter)
    param = solver.param
    prefix = f"{param.snapshot_prefix}_iter_{solver.iter}"
    # Rather a new folder than a training lost at its end.
    with contextlib.suppress(OSError):
        os.makedirs(os.path.dirname(prefix) or ".", exist_ok=True)
    hdf5 = param.snapshot_format == caffe_pb2.SolverParameter.HDF5
    end, kind = (".h5", "HDF5") if hdf5 else ("", "binary proto")
    event = training_log.Snapshot(
        solver.iter, f"{prefix}.caffemodel{end}", f"{prefix}.solverstate{end}"
    )
    training_log.info(f"Snapshotting to {kind} file {event.weights}", "solver.cpp:464")
    files.write_weights(event.weights, solver.net, param.snapshot_diff)
    files.write_extra(files.extra_path(event.state), _extra(solver))
    training_log.info(
        f"Snapshotting solver state to {kind} file {event.state}", "sgd_solver.cpp:284"
    )
    state = files.SolverState(solver.iter, solver.current_step, event.weights, solver.history)
    files.write_state(event.state, state)
    return event


def restore(solver, path) -> None:
    """Go on from a .solverstate or .solverstate.h5, Caffe's or ours.

    Raises
    ------
    WeightsError
        If it, or the weights it names, cannot be read or do not fit; all misfits are listed.
        The solver is unchanged then.
    """
    path = os.fspath(path)
    found = files.read_state(path)
    files.check_history(path, found.history, solver.history)
    extra = files.read_extra(files.extra_path(path))
    if found.learned_net is not None:
        solver.net.copy_trained_from(files.find_learned_net(path, found.learned_net))
    training_log.info("SGDSolver: restoring history", "sgd_solver.cpp:320")
    for mine, theirs in zip(solver.history, found.history, strict=True):
        mine[...] = theirs.reshape(mine.shape)
    solver.iter, solver.current_step = found.iter, found.current_step
    # One of another iteration was left behind by another run.
    if extra is not None and extra.get("iter") == found.iter:
        _restore_extra(solver, extra, files.extra_path(path))


def _extra(solver) -> dict:
    return {
        "iter": solver.iter,
        "random": random.generator().bit_generator.state,
        "average_loss": solver.average_loss.state(),
        "nets": [_layer_states(net) for net in (solver.net, *solver.test_nets)],
    }


def _restore_extra(solver, extra: dict, path: str) -> None:
    try:
        random.generator().bit_generator.state = extra["random"]
        solver.average_loss.restore_state(extra["average_loss"])
        for net, states in zip((solver.net, *solver.test_nets), extra["nets"], strict=False):
            for name, state in states.items():
                layer = net.layer_dict.get(name)
                if layer is not None and hasattr(layer, "restore_state"):
                    layer.restore_state(state)
    except (KeyError, TypeError, ValueError) as error:
        raise files.unreadable_extra(path, error) from error


def _layer_states(net) -> dict:
    """What the layers want to keep, by layer name: where the data stand, random numbers."""
    return {
        name: layer.state()
        for name, layer in net.layer_dict.items()
        if hasattr(layer, "state") and hasattr(layer, "restore_state")
    }
