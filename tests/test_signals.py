"""What signals do to a training that runs in this very process."""

import os
import signal
import threading

import pytest

from caffe_spn import signals
from caffe_spn.errors import CaffeSpnError
from tests.solver_cases import Recorder, make_solver


@pytest.fixture(autouse=True)
def handlers_are_put_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGHUP)
    yield
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGHUP)) == before


class Sender(Recorder):
    """Sends this process signals after some iterations."""

    def __init__(self, plan):
        super().__init__()
        self.plan = plan

    def on_iteration(self, iteration, loss):
        super().on_iteration(iteration, loss)
        for number in self.plan.get(iteration, ()):
            os.kill(os.getpid(), number)


def run(tmp_path, plan, sigint="stop", sighup="snapshot", text=""):
    solver = make_solver(tmp_path, f'snapshot_prefix: "{tmp_path}/s" {text}')
    solver.handle_signals(sigint, sighup)
    sender = Sender(plan)
    solver.add_listener(sender)
    solver.solve()
    return solver, sender


def test_sigint_stops_after_the_iteration_and_takes_a_snapshot(tmp_path):
    solver, sender = run(tmp_path, {2: [signal.SIGINT]})
    assert solver.iter == 2
    assert [e.iter for e in sender.snapshots] == [2]


def test_sighup_takes_a_snapshot_and_goes_on(tmp_path):
    solver, sender = run(tmp_path, {2: [signal.SIGHUP]})
    assert solver.iter == 4
    assert [e.iter for e in sender.snapshots] == [2, 4]


def test_effects_can_be_swapped(tmp_path):
    solver, sender = run(tmp_path, {2: [signal.SIGINT], 3: [signal.SIGHUP]}, "snapshot", "stop")
    assert solver.iter == 3
    assert [e.iter for e in sender.snapshots] == [2, 3]


def test_none_leaves_the_signal_alone(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, {1: [signal.SIGINT]}, sigint="none")


def test_without_handling_ctrl_c_is_a_keyboard_interrupt(tmp_path):
    solver = make_solver(tmp_path)
    solver.add_listener(Sender({1: [signal.SIGINT]}))
    with pytest.raises(KeyboardInterrupt):
        solver.solve()


def test_a_second_ctrl_c_interrupts_at_once(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, {1: [signal.SIGINT, signal.SIGINT]})


def test_sigint_in_a_test_pass_ends_it(tmp_path):
    text = "test_iter: 10 test_interval: 2 test_initialization: false"
    solver = make_solver(tmp_path, f'{text} snapshot_prefix: "{tmp_path}/s"')
    solver.handle_signals()
    recorder = Recorder()
    solver.add_listener(recorder)
    passes = []
    forward = solver.test_nets[0].forward_loss

    def forward_loss():
        passes.append(solver.iter)
        if len(passes) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return forward()

    solver.test_nets[0].forward_loss = forward_loss
    solver.solve()
    assert passes == [2, 2, 2]
    assert recorder.tests == []
    assert [e.iter for e in recorder.snapshots] == [2]


def test_solving_again_after_a_stop_goes_on(tmp_path):
    solver, _ = run(tmp_path, {1: [signal.SIGINT]})
    solver.solve()
    assert solver.iter == 4


def test_other_threads_train_without_handlers(tmp_path):
    solver = make_solver(tmp_path, "snapshot_after_train: false")
    solver.handle_signals()
    errors = []

    def train():
        try:
            solver.solve()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert not errors
    assert solver.iter == 4


def test_unknown_effect_is_refused():
    with pytest.raises(CaffeSpnError, match="sigint_effect is 'pause'"):
        signals.SignalHandler("pause")
