"""Snapshots: what a solver writes so that training can go on after it was stopped or killed.

``PREFIX_iter_N.caffemodel`` has the weights and ``PREFIX_iter_N.solverstate`` the histories, both
as BVLC Caffe writes and reads them, or as HDF5 with ``.h5`` after the name. Beside them,
``PREFIX_iter_N.state.json`` keeps what Caffe forgets: where the data layers stood, the random
numbers and the averaged losses. With it a resumed training repeats the uninterrupted one bit for
bit; without it a snapshot still restores, as in Caffe.

Source: `Solver::Snapshot` and `SGDSolver::SnapshotSolverState` of BVLC Caffe.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from caffe_spn import weights_io
from caffe_spn.errors import WeightsError
from caffe_spn.proto import binary, caffe_pb2, wire
from caffe_spn.proto.blobs import blob_pieces, numbers_to_array
from caffe_spn.proto.files import atomic_write
from caffe_spn.weights_h5 import read_array

STATE_VERSION = 1

_HISTORY = caffe_pb2.SolverState.DESCRIPTOR.fields_by_name["history"].number


@dataclass
class SolverState:
    """What a .solverstate holds: counters, the name of the weights, the histories."""

    iter: int
    current_step: int
    learned_net: str | None
    history: list[np.ndarray]


def check_prefix(prefix: str, create: bool = False, where: str | None = None) -> None:
    """Refuse a `snapshot_prefix` into which nothing can be written.

    Parameters
    ----------
    prefix : str
    create : bool, default False
        Make the folder when it is missing; Caffe does not.
    where : str, optional
        The solver's file, for the error.

    Raises
    ------
    WeightsError
        Before any training is done for nothing.
    """
    folder = os.path.dirname(prefix) or "."
    probe = f"{prefix}_iter_0.{os.getpid()}.tempfile"
    try:
        if create:
            os.makedirs(folder, exist_ok=True)
        with open(probe, "wb"):
            pass
        os.remove(probe)
    except OSError as error:
        raise WeightsError(
            f"cannot write to snapshot prefix '{prefix}': {error.strerror or error}",
            where=where,
            help=f"make the folder '{folder}' and see that you may write into it",
        ) from error


def write_weights(path: str, net, write_diff: bool = False) -> None:
    """Write a .caffemodel, or a .caffemodel.h5 if the name ends so."""
    if path.endswith(".h5"):
        weights_io.write_h5(path, net, write_diff)
    else:
        weights_io.write_caffemodel(path, net, write_diff)


# The solver's state as Caffe's files have it


def write_state(path: str, state: SolverState) -> None:
    """Write a .solverstate, or a .solverstate.h5 if the name ends so."""
    if path.endswith(".h5"):
        _write_state_h5(path, state)
        return
    # In the order of their numbers, as the library writes them: histories without a copy.
    before = caffe_pb2.SolverState(iter=state.iter, learned_net=state.learned_net)
    after = caffe_pb2.SolverState(current_step=state.current_step)
    histories = (piece for array in state.history for piece in blob_pieces(_HISTORY, array))
    pieces = (before.SerializeToString(), *histories, after.SerializeToString())
    binary.write_pieces(path, pieces)


def _write_state_h5(path: str, state: SolverState) -> None:
    import h5py

    try:
        with atomic_write(path) as temporary, h5py.File(temporary, "w") as file:
            file["iter"] = np.array([state.iter], np.int32)
            _write_string(file, "learned_net", state.learned_net.encode())
            file["current_step"] = np.array([state.current_step], np.int32)
            history = file.create_group("history")
            for index, array in enumerate(state.history):
                history[str(index)] = array
    except WeightsError:
        raise
    except RuntimeError as error:
        # How h5py reports a disk that becomes full while a file is closed.
        raise WeightsError(f"the file cannot be written: {error}", where=path) from error


def _write_string(file, name: str, value: bytes) -> None:
    # Fixed length with a final zero: Caffe's reader takes no other kind of string.
    import h5py

    kind = h5py.h5t.C_S1.copy()
    kind.set_size(len(value) + 1)
    space = h5py.h5s.create(h5py.h5s.SCALAR)
    dataset = h5py.h5d.create(file.id, name.encode(), kind, space)
    dataset.write(space, space, np.array(value, f"S{len(value) + 1}"), mtype=kind)


def read_state(path: str) -> SolverState:
    """Read a .solverstate or .solverstate.h5, Caffe's or ours.

    Raises
    ------
    WeightsError
        If it is missing, cut off or something else.
    """
    if not os.path.isfile(path):
        raise WeightsError(
            "there is no such solver state",
            where=path,
            help="a snapshot's name ends with .solverstate or .solverstate.h5",
        )
    if path.endswith(".h5"):
        return _read_state_h5(path)
    message, numbers = binary.read_split(path, caffe_pb2.SolverState, wire.STATE)
    if not message.HasField("iter"):
        raise WeightsError(
            "is not a solver state: it has no iteration count",
            where=path,
            help="weights (.caffemodel) are for --weights; to resume, name the .solverstate",
        )
    try:
        return SolverState(
            message.iter,
            message.current_step,
            message.learned_net if message.HasField("learned_net") else None,
            [numbers_to_array(blob, numbers[wire.index_of(blob)]) for blob in message.history],
        )
    except WeightsError as error:
        raise WeightsError(error.message, path, error.help) from error


def _read_state_h5(path: str) -> SolverState:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            learned_net = file["learned_net"][()] if "learned_net" in file else None
            group = file["history"]
            return SolverState(
                int(np.ravel(file["iter"][()])[0]),
                int(np.ravel(file["current_step"][()])[0]),
                None if learned_net is None else np.bytes_(learned_net).decode().rstrip("\0"),
                [read_array(group[str(i)], path) for i in range(len(group))],
            )
    except WeightsError:
        raise
    except (OSError, RuntimeError, LookupError, AttributeError, TypeError, ValueError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(
            f"cannot be read as a solver state in HDF5: {error}",
            where=path,
            help="a snapshot has iter, current_step, learned_net and the group history",
        ) from error


def check_history(path: str, found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> None:
    """Compare the histories of a file with those of the solver.

    Raises
    ------
    WeightsError
        Listing every difference.
    """
    if len(found) != len(expected):
        raise WeightsError(
            f"has {len(found)} history blobs; this solver keeps {len(expected)}",
            where=path,
            help="resume with the solver type and the network that wrote the snapshot",
        )
    misfits = [
        f"history {i} is {a.shape}; the parameter is {b.shape}"
        for i, (a, b) in enumerate(zip(found, expected, strict=True))
        if _without_leading_ones(a.shape) != _without_leading_ones(b.shape)
    ]
    if misfits:
        raise WeightsError(
            "\n".join(misfits), where=path, help="resume with the network that wrote the snapshot"
        )


def _without_leading_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    # Files of Caffe's first years have four dimensions for everything.
    while shape and shape[0] == 1:
        shape = shape[1:]
    return shape


def find_learned_net(state_path: str, learned_net: str) -> str:
    """Where the weights of a solver state are: as recorded, or beside it when it was moved.

    Raises
    ------
    WeightsError
        Naming both places, if they are at neither.
    """
    beside = os.path.join(os.path.dirname(state_path), os.path.basename(learned_net))
    for candidate in (learned_net, beside):
        if os.path.isfile(candidate):
            return candidate
    raise WeightsError(
        f"its weights are missing: neither {learned_net} nor {beside} exists",
        where=state_path,
        help="keep the .caffemodel beside the .solverstate",
    )


# What Caffe's files have no room for


def extra_path(state_path: str) -> str:
    """PREFIX_iter_N.state.json for PREFIX_iter_N.solverstate or .solverstate.h5."""
    return state_path.removesuffix(".h5").removesuffix(".solverstate") + ".state.json"


def write_extra(path: str, extra: dict) -> None:
    """Write the additional state, a dict of what JSON can hold."""
    with atomic_write(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        json.dump({"version": STATE_VERSION, **extra}, file)


def read_extra(path: str) -> dict | None:
    """The additional state, or None where there is none (a snapshot of Caffe's).

    Raises
    ------
    WeightsError
        If the file is there but cannot be read.
    """
    try:
        with open(path, encoding="utf-8") as file:
            extra = json.load(file)
        if extra["version"] != STATE_VERSION:
            raise ValueError(f"its version is {extra['version']}, not {STATE_VERSION}")
        return extra
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise unreadable_extra(path, error) from error


def unreadable_extra(path: str, error: Exception) -> WeightsError:
    """The error for a .state.json that makes no sense."""
    return WeightsError(
        f"cannot be read: {error!r}",
        where=path,
        help="delete it to resume as Caffe does: the data then start from their beginning",
    )
