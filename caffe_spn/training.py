"""Solver: the training loop, its tests, snapshots and messages; update rules are in `solver.py`.

Source: `Solver` of BVLC Caffe, and what pycaffe shows of it.
"""

from __future__ import annotations

import contextlib
import os
import time

from caffe_spn import nccl, random, resume, signals, snapshot, training_log
from caffe_spn.average_loss import AverageLoss
from caffe_spn.debug_info import DebugInfo
from caffe_spn.evaluation import evaluate, named_outputs, output_values
from caffe_spn.non_finite import check_loss
from caffe_spn.solver_definition import SolverDefinition
from caffe_spn.solver_nets import build_nets
from caffe_spn.vectors import NetVec
from caffe_spn.watched import Watched


class Solver(Watched):
    """Trains a net; the base of the solver types, which say what an update is.

    Parameters
    ----------
    source : str, path or SolverParameter
        The definition.
    create_snapshot_dir : bool, default False
        Make the folder of `snapshot_prefix` now when it is missing. By default a solver that
        states `snapshot` is refused then, as by Caffe.
    allow_python : bool, default True
        False refuses nets with layers of type Python: they are code that the file names.

    Attributes
    ----------
    param : SolverParameter
    net : Net
        The net that is trained.
    test_nets : NetVec
        They share the trained net's parameters from their first test on.
    iter : int
        How many updates there have been.
    history : list of array
        What the update rule remembers, as a .solverstate keeps it.
    newest_state : str or None
        The last .solverstate that was written, or restored.

    Raises
    ------
    PrototxtError
        If the definition makes no sense, or one of its nets.
    WeightsError
        If snapshots cannot be written, or initial weights cannot be read.
    """

    def __init__(self, source, create_snapshot_dir: bool = False, allow_python: bool = True):
        super().__init__()
        given = isinstance(source, SolverDefinition)
        self._definition = source if given else SolverDefinition(source)
        self.param = self._definition.param
        self.check(self._definition)
        if self.param.snapshot or (create_snapshot_dir and self.param.snapshot_after_train):
            snapshot.check_prefix(
                self.param.snapshot_prefix, create_snapshot_dir, self._definition.path
            )
        self.iter = 0
        self.current_step = 0
        self.average_loss = AverageLoss(self.param.average_loss)
        self.newest_state: str | None = None
        self._resumed = False
        self._stop = False
        self._signals: signals.SignalHandler | None = None
        self._displayed_iter = 0
        self._displayed_at = time.perf_counter()
        if self.param.random_seed >= 0:
            random.set_random_seed(self.param.random_seed + nccl.solver_rank())
        self.net, *test_nets = build_nets(self._definition, allow_python)
        self.test_nets = NetVec(test_nets)
        self._debug = DebugInfo(self.net) if self.param.debug_info else None
        for net in test_nets if self.param.debug_info else ():
            # Tests are few: they show all of their passes, as in Caffe.
            DebugInfo(net).enabled = True

    @classmethod
    def check(cls, definition: SolverDefinition) -> None:
        """Refuse a definition that makes no sense, before any work is done.

        Raises
        ------
        PrototxtError
        """
        definition.check()

    # Training

    def solve(self, state=None) -> None:
        """Train to `max_iter`, with tests, displays and snapshots as the definition says.

        Parameters
        ----------
        state : str or path, optional
            A .solverstate or .solverstate.h5 to go on from.

        Raises
        ------
        TrainingError
            If the loss is not a number any more; snapshots so far are kept.
        DeviceError
            If the GPU has no room, with the batch that has, or was lost, with the snapshot to go
            on from.
        """
        training_log.info(f"Solving {self.net.name}", "solver.cpp:293")
        training_log.info(f"Learning Rate Policy: {self.param.lr_policy}", "solver.cpp:294")
        if state is not None:
            training_log.info(f"Restoring previous solver status from {state}", "solver.cpp:299")
            self.restore(state)
        with self._signals or contextlib.nullcontext(), resume.after_a_loss(self):
            self.step(self.param.max_iter - self.iter)
            after_train = self.param.snapshot_after_train and nccl.root_solver()
            if after_train and not self._due(self.param.snapshot):
                self.snapshot()
            if self._stop:
                training_log.info("Optimization stopped early.", "solver.cpp:313")
                return
            # The weights were updated after the last loss was shown: show what they reach.
            if self._due(self.param.display):
                self.average_loss.add(self._checked(self.net.forward_loss()))
                training_log.info(
                    f"Iteration {self.iter}, loss = {self.average_loss.value:g}", "solver.cpp:327"
                )
            if self._due(self.param.test_interval):
                self.test_all()
        training_log.info("Optimization Done.", "solver.cpp:332")

    def step(self, n: int) -> None:
        """Train for `n` iterations.

        Raises
        ------
        TrainingError
            If the loss is not a number any more.
        """
        stop_iter = self.iter + n
        self._stop = False
        if not self._resumed:
            self.average_loss = AverageLoss(self.param.average_loss)
        self._resumed = False
        self._displayed_at, self._displayed_iter = time.perf_counter(), self.iter
        with resume.after_a_loss(self):
            while self.iter < stop_iter and not self._stop:
                self.net.clear_param_diffs()
                if self._due(self.param.test_interval) and (
                    self.iter > 0 or self.param.test_initialization
                ):
                    self.test_all()
                if not self._stop:
                    self._iterate()

    def _iterate(self) -> None:
        self._starting()
        display = self._due(self.param.display)
        if self._debug is not None:
            self._debug.enabled = display
        loss = 0.0
        for _ in range(self.param.iter_size):
            loss += self._checked(self.net.forward_backward())
        loss /= self.param.iter_size
        self.average_loss.add(loss)
        if display:
            self._display(loss)
        self._gradients_ready()
        self.apply_update()
        self._notify("on_iteration", self.iter, loss)
        action = self._requested_action()
        if self._due(self.param.snapshot) or action == signals.SNAPSHOT:
            self.snapshot()
        self._stop = action == signals.STOP

    def _checked(self, loss: float) -> float:
        check_loss(self.net, loss, self.iter, self.lr)
        return loss

    def _due(self, interval: int) -> bool:
        return bool(interval) and self.iter % interval == 0 and nccl.root_solver()

    def apply_update(self) -> None:
        """Update the parameters from their diffs, which counts as an iteration."""
        raise NotImplementedError

    @property
    def lr(self) -> float:
        """The learning rate of the next update."""
        raise NotImplementedError

    def set_iter(self, n: int) -> None:
        """Say how many updates there have been, as for the learning-rate policy."""
        self.iter = int(n)

    # Testing

    def test_all(self) -> None:
        """Run every test net over its `test_iter` batches and report the means."""
        for index in range(len(self.test_nets)):
            if not self._stop:
                self.test(index)

    def test(self, index: int = 0) -> training_log.Test | None:
        """Run one test net; None if a signal interrupted it."""
        training_log.info(f"Iteration {self.iter}, Testing net (#{index})", "solver.cpp:347")
        net = self.test_nets[index]
        net.share_with(self.net)
        result = evaluate(net, self.param.test_iter[index], self._interrupted)
        if result is None:
            training_log.info("Test interrupted.", "solver.cpp:395")
            return None
        loss, outputs = result
        event = training_log.Test(
            self.iter, index, outputs, loss if self.param.test_compute_loss else None
        )
        event.log()
        self._notify("on_test", event)
        return event

    def share_weights(self, net) -> None:
        """Let `net` use the parameters of the trained net, in the same memory."""
        net.share_with(self.net)

    # Snapshots

    def snapshot(self) -> None:
        """Write weights and solver state as ``SNAPSHOT_PREFIX_iter_N``; see `caffe_spn.snapshot`.

        Raises
        ------
        WeightsError
            If they cannot be written; earlier snapshots are untouched.
        TrainingError
            If a parameter is not finite: a broken state is never written.
        """
        event = resume.save(self)
        self.newest_state = event.state
        self._notify("on_snapshot", event)

    def restore(self, state) -> None:
        """Go on from a .solverstate or .solverstate.h5, Caffe's or ours.

        Raises
        ------
        WeightsError
            If it, or the weights it names, cannot be read or do not fit; all misfits are listed.
        """
        resume.restore(self, state)
        self.newest_state = os.fspath(state)
        self._resumed = True

    # Signals and the end

    def handle_signals(self, sigint: str = signals.STOP, sighup: str = signals.SNAPSHOT) -> None:
        """Let SIGINT and SIGHUP stop `solve`, or make it take a snapshot, between iterations.

        Parameters
        ----------
        sigint, sighup : {'stop', 'snapshot', 'none'}
            Without this call, Ctrl-C is a KeyboardInterrupt as everywhere in Python.
        """
        self._signals = signals.SignalHandler(sigint, sighup)

    def close(self) -> None:
        """Stop what the nets run in the background."""
        for net in (self.net, *self.test_nets):
            net.close()

    def _requested_action(self) -> str:
        return signals.NONE if self._signals is None else self._signals.requested_action()

    def _interrupted(self) -> bool:
        while (action := self._requested_action()) != signals.NONE:
            if action == signals.SNAPSHOT:
                self.snapshot()
            else:
                self._stop = True
        return self._stop

    def _display(self, loss: float) -> None:
        now = time.perf_counter()
        event = training_log.Display(
            self.iter,
            loss,
            self.average_loss.value,
            self.lr,
            now - self._displayed_at,
            self.iter - self._displayed_iter,
            named_outputs(self.net, output_values(self.net)),
        )
        event.log(self.param.display)
        self._displayed_at, self._displayed_iter = now, self.iter
        self._notify("on_display", event)
