"""One solver among several: pycaffe's counts and ranks, and NCCL.

This package trains with one solver in one process. What remains of pycaffe's parallel training is
what one built without NCCL has: `has_nccl` is False, and the counts can be set. They mean what they
mean in Caffe: the data layers of solver R of N train with every N-th batch, beginning with number R
(Caffe takes every N-th item), and only the solver of rank 0 tests, displays and takes snapshots.
Summing gradients is up to the script (`Solver.add_callback`); `NCCL` refuses to stand in for it.

Source: `Caffe::solver_count` and its neighbours, and `NCCL`, of BVLC Caffe.
"""

from __future__ import annotations

import os

from caffe_spn.errors import DeviceError

# As ncclUniqueId has.
UID_BYTES = 128

_state = {"count": 1, "rank": 0, "multiprocess": False}


def solver_count() -> int:
    """How many solvers train together."""
    return _state["count"]


def set_solver_count(count: int) -> None:
    """Say how many solvers train together, each in a process of its own."""
    _state["count"] = int(count)


def solver_rank() -> int:
    """The number of this process's solver, from 0."""
    return _state["rank"]


def set_solver_rank(rank: int) -> None:
    """Say which of the solvers is this process's; data layers that exist keep theirs."""
    _state["rank"] = int(rank)


def root_solver() -> bool:
    """Whether this process's solver is the one that tests and takes snapshots."""
    return solver_rank() == 0


def multiprocess() -> bool:
    """What `set_multiprocess` was told."""
    return _state["multiprocess"]


def set_multiprocess(flag: bool) -> None:
    """Say that each solver has a process of its own; here they always have."""
    _state["multiprocess"] = bool(flag)


def has_nccl() -> bool:
    """Whether several GPUs can train together: never here."""
    return False


class NCCL:
    """What keeps the solvers of several GPUs equal; for a single solver there is nothing to do.

    Parameters
    ----------
    solver : Solver
    uid : bytes
        From `new_uid`, the same for all solvers.

    Raises
    ------
    DeviceError
        If `set_solver_count` announced more than one solver.

    Notes
    -----
    Like pycaffe's it can be handed to `Solver.add_callback` and `Net.after_backward`.
    """

    def __init__(self, solver, uid):
        if solver_count() > 1:
            raise DeviceError(
                f"{solver_count()} solvers are to train together, and there is no NCCL to sum"
                " their gradients",
                help="train with one: set_solver_count(1); a larger iter_size makes larger batches",
            )
        self.solver = solver

    @staticmethod
    def new_uid() -> bytes:
        """A name for a group of solvers."""
        return os.urandom(UID_BYTES)

    def bcast(self) -> None:
        """Hand the parameters to the other solvers, of which there are none."""

    def on_start(self) -> None:
        """Called before each iteration."""

    def on_gradients_ready(self) -> None:
        """Called before each update, where gradients would be summed."""

    def __call__(self, layer_index: int) -> None:
        """Called after each layer's backward pass, with `layer_wise_reduce`."""
