"""Write a solver's snapshot, and let a solver go on from one.

The files themselves are the business of `caffe_spn.snapshot`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from caffe_spn import random, training_log, weights_io
from caffe_spn import snapshot as files
from caffe_spn.errors import DeviceError, WeightsError
from caffe_spn.non_finite import check_parameters
from caffe_spn.proto import caffe_pb2

# Which of the histories of each type are means or sums of squares.
_SQUARES = {"AdaGrad": (0,), "RMSProp": (0,), "AdaDelta": (0, 1), "Adam": (1,)}


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
    history = [blob.cpu_data for blob in solver.history_blobs]
    check_parameters(solver.net, history, solver.iter)
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
    state = files.SolverState(solver.iter, solver.current_step, event.weights, history)
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
    extra = files.read_extra(files.extra_path(path))
    if extra is not None and extra.get("iter") != found.iter:
        # It was left behind by another run.
        extra = None
    if extra is not None and extra.get("current_step", found.current_step) != found.current_step:
        raise WeightsError(
            "is cut off: its end, which holds the step of the learning rate, is missing",
            where=path,
            help="the file was not copied to its end; get it again",
        )
    _check_type(solver, found, extra, path)
    files.check_history(path, found.history, solver.history)
    before = _extra(solver)
    try:
        if extra is not None:
            _restore_extra(solver, extra, files.extra_path(path))
        if found.learned_net is not None:
            _restore_weights(solver.net, files.find_learned_net(path, found.learned_net))
    except Exception:
        # Weights are copied all or none: what else was restored is undone.
        _restore_extra(solver, before, path)
        raise
    training_log.info("SGDSolver: restoring history", "sgd_solver.cpp:320")
    for mine, theirs in zip(solver.history, found.history, strict=True):
        mine[...] = theirs.reshape(mine.shape)
    solver.iter, solver.current_step = found.iter, found.current_step


@contextlib.contextmanager
def after_a_loss(solver) -> Iterator[None]:
    """Let the error for a GPU that was lost meanwhile say what the training can go on from."""
    try:
        yield
    except DeviceError as error:
        from caffe_spn.cuda.device.driver import ONLY_THE_CPU, DeviceLost

        if isinstance(error, DeviceLost):
            state = solver.newest_state
            advice = (
                f"in a new process go on from {state} (caffe-spn train --snapshot, or"
                " solver.restore)"
                if state
                else "this training has written no snapshot yet: begin it again in a new process,"
                " with a smaller 'snapshot' in the solver"
            )
            error.help = f"iteration {solver.iter} was under way; {advice}; {ONLY_THE_CPU}"
        raise


def _restore_weights(net, path: str) -> None:
    """Copy all parameters of a net from a file, or none.

    Raises
    ------
    WeightsError
        Also if the file lacks a layer, as one that was cut off between two layers does.
    """
    hdf5 = path.endswith(".h5")
    weights = weights_io.read_h5(path) if hdf5 else weights_io.read_caffemodel(path)
    missing = [name for name in net.params if name not in weights]
    if missing:
        raise WeightsError(
            f"has no weights for {', '.join(missing)}",
            where=path,
            help="the file is cut off or of another network; a snapshot has all layers",
        )
    weights_io.apply(net, weights, strict_counts=not hdf5, where=path)


def _check_type(solver, found: files.SolverState, extra: dict | None, path: str) -> None:
    """Refuse the snapshot of a solver of another type.

    Ours say the type; Caffe's do not, but a sum of squares is never negative.

    Raises
    ------
    WeightsError
    """
    theirs = solver.type if extra is None else extra.get("solver", solver.type)
    if theirs != solver.type:
        finding = f"is a snapshot of {theirs}; this solver is {solver.type}"
    else:
        negative = _negative_squares(solver, found.history)
        if negative is None:
            return
        finding = (
            f"history {negative} has negative numbers; those of {solver.type} there are sums of"
            " squares, so this is a snapshot of another type of solver"
        )
    raise WeightsError(
        finding,
        where=path,
        help="go on with the type of solver that wrote it, or start anew from its .caffemodel"
        " (--weights)",
    )


def _negative_squares(solver, history) -> int | None:
    """The first array that should hold squares and cannot."""
    count = len(solver.net.learnable_params)
    for kind in _SQUARES.get(solver.type, ()):
        for index in range(kind * count, min((kind + 1) * count, len(history))):
            if history[index].size and history[index].min() < 0:
                return index
    return None


def _extra(solver) -> dict:
    return {
        "solver": solver.type,
        "iter": solver.iter,
        "current_step": solver.current_step,
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
