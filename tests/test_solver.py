"""The six solvers against ten recorded iterations of Caffe each, and the training loop's habits."""

import logging
from itertools import pairwise

import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn import device
from caffe_spn.errors import DeviceError, PrototxtError, TrainingError
from caffe_spn.sgd_solver import BLOCK
from caffe_spn.solver import SOLVERS, SGDSolver, get_solver
from tests import golden_cases as golden
from tests.solver_cases import DATA, LEARNER, NET, Recorder, make_solver, weights

CASES = golden.cases("solver")


def compare_params(case, solver, arrays, prefix):
    wanted = golden.part(arrays, prefix)
    assert wanted
    for key, want in wanted.items():
        golden.compare(case, f"{prefix}/{key}", golden.param_blob(solver.net, key).data, want)


@pytest.mark.parametrize("case", CASES, ids=golden.case_id)
def test_iterations_are_caffes(case, tmp_path):
    with golden.copied(case, tmp_path):
        arrays = np.load(case["name"] + ".npz")
        solver = get_solver(case["name"] + ".solver.prototxt")
        assert type(solver) is SOLVERS[case["solver_type"]]
        if "initial_weights" not in case:
            for key, value in golden.part(arrays, "init").items():
                golden.param_blob(solver.net, key).data[...] = value
        losses = []
        forward_backward = solver.net.forward_backward
        solver.net.forward_backward = lambda: losses.append(forward_backward()) or losses[-1]
        for iteration in range(10):
            assert solver.iter == iteration
            assert solver.lr == pytest.approx(arrays["lr"][iteration], rel=1e-5)
            solver.step(1)
            compare_params(case, solver, arrays, f"iter/{iteration + 1}")
        np.testing.assert_allclose(losses, arrays["loss"], case["rtol"], case["atol"])


@pytest.mark.parametrize("case", CASES, ids=golden.case_id)
@pytest.mark.parametrize("end", ["", ".h5"])
def test_resumes_from_caffes_snapshot(case, end, tmp_path):
    with golden.copied(case, tmp_path):
        arrays = np.load(case["name"] + ".npz")
        solver = get_solver(case["name"] + ".solver.prototxt")
        solver.restore(f"{case['name']}_iter_5.solverstate{end}")
        assert solver.iter == 5
        compare_params(case, solver, arrays, "iter/5")
        for iteration in range(6, 11):
            solver.step(1)
            compare_params(case, solver, arrays, f"resumed/{iteration}")


# The surface of pycaffe


def test_solve_runs_to_max_iter(tmp_path):
    solver = make_solver(tmp_path, "snapshot_after_train: false")
    before = solver.net.forward_loss()
    solver.solve()
    assert solver.iter == 4
    assert solver.net.forward_loss() < before
    assert (solver.param.max_iter, solver.param.display, solver.param.layer_wise_reduce) == (
        4, 0, True,
    )  # fmt: skip
    assert solver.param.base_lr == pytest.approx(0.1)


def test_one_step_is_lr_times_gradient(tmp_path):
    solver = make_solver(tmp_path)
    before = weights(solver)
    solver.net.clear_param_diffs()
    solver.net.forward()
    solver.net.backward()
    gradient = solver.net.params["i"][0].diff.copy()
    solver.step(1)
    np.testing.assert_allclose(weights(solver), before - 0.1 * gradient, rtol=1e-6)
    # As in Caffe, the diff holds what was subtracted.
    np.testing.assert_allclose(solver.net.params["i"][0].diff, 0.1 * gradient, rtol=1e-6)


def test_apply_update_counts_as_an_iteration(tmp_path):
    solver = make_solver(tmp_path, rate='base_lr: 0.1 lr_policy: "step" gamma: 0.5 stepsize: 1')
    before = weights(solver)
    for rate in (0.1, 0.05):
        solver.net.clear_param_diffs()
        solver.net.params["i"][0].diff[...] = 2
        assert solver.lr == pytest.approx(rate)
        solver.apply_update()
    assert solver.iter == 2
    np.testing.assert_allclose(weights(solver), before - 0.3, rtol=1e-6)


def test_a_parameter_of_several_blocks_is_updated_whole(tmp_path):
    net = NET.replace("dim: 2 dim: 3", f"dim: 2 dim: {BLOCK}")
    solver = make_solver(tmp_path, 'type: "Adam" momentum: 0.9', net=net)
    assert solver.net.params["i"][0].count == 2 * BLOCK
    before = weights(solver)
    solver.step(2)
    moved = weights(solver) - before
    # All inputs are alike, so every weight of a unit moves alike.
    assert (moved == moved[:, :1]).all()
    assert (moved != 0).all()


def test_set_iter_moves_the_policy(tmp_path):
    solver = make_solver(tmp_path, rate='base_lr: 1 lr_policy: "step" gamma: 0.1 stepsize: 10')
    solver.set_iter(20)
    assert solver.iter == 20
    assert solver.lr == pytest.approx(0.01)


def test_reading_lr_changes_nothing(tmp_path):
    rate = 'base_lr: 1 lr_policy: "multistep" gamma: 0.5 stepvalue: 0 stepvalue: 0'
    solver = make_solver(tmp_path, rate=rate)
    assert [solver.lr, solver.lr] == [0.5, 0.5]


def test_callbacks_come_before_the_iteration_and_before_the_update(tmp_path):
    solver = make_solver(tmp_path)
    blob = solver.net.params["i"][0]
    seen = []
    solver.add_callback(
        lambda: seen.append(("start", solver.iter, float(abs(blob.diff).max()))),
        lambda: seen.append(("gradient", solver.iter, blob.data.copy())),
    )
    before = weights(solver)
    solver.step(1)
    assert [event[:2] for event in seen] == [("start", 0), ("gradient", 0)]
    assert seen[0][2] == 0
    np.testing.assert_array_equal(seen[1][2], before)
    assert (weights(solver) != before).all()


def test_callback_object(tmp_path):
    class Callback:
        calls = ()

        def on_start(self):
            self.calls += ("start",)

        def on_gradients_ready(self):
            self.calls += ("gradients",)

    solver, callback = make_solver(tmp_path), Callback()
    solver.add_callback(callback)
    solver.step(2)
    assert callback.calls == ("start", "gradients") * 2


def test_share_weights_shares_memory(tmp_path):
    solver = make_solver(tmp_path)
    other = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    solver.share_weights(other)
    solver.step(1)
    np.testing.assert_array_equal(other.params["i"][0].data, weights(solver))


def test_constructing_a_type_directly(tmp_path):
    make_solver(tmp_path)
    assert type(SGDSolver(str(tmp_path / "solver.prototxt"))) is SGDSolver
    for name, solver_class in SOLVERS.items():
        assert getattr(caffe, f"{name}Solver") is solver_class


# Displays, tests, losses


def test_listeners_hear_of_everything(tmp_path):
    text = (
        f"display: 2 test_iter: 3 test_interval: 2 test_compute_loss: true snapshot: 2"
        f' snapshot_prefix: "{tmp_path}/s"'
    )
    solver, recorder = make_solver(tmp_path, text), Recorder()
    solver.add_listener(recorder)
    solver.solve()
    assert [i for i, _ in recorder.iterations] == [1, 2, 3, 4]
    assert [e.iter for e in recorder.displays] == [0, 2]
    assert [e.iter for e in recorder.tests] == [0, 2, 4]
    assert [e.iter for e in recorder.snapshots] == [2, 4]
    display, test = recorder.displays[1], recorder.tests[1]
    assert display.loss == recorder.iterations[2][1]
    assert [(o.name, o.loss_weight) for o in display.outputs] == [("loss", 1)]
    # The data are constant, so a test's mean is the training loss of the same weights.
    assert test.outputs[0].value == pytest.approx(display.loss)
    assert test.loss == pytest.approx(display.loss)


def test_no_test_at_the_start_without_test_initialization(tmp_path):
    text = "test_iter: 1 test_interval: 2 test_initialization: false snapshot_after_train: false"
    solver, recorder = make_solver(tmp_path, text), Recorder()
    solver.add_listener(recorder)
    solver.solve()
    assert [e.iter for e in recorder.tests] == [2, 4]
    assert recorder.tests[0].loss is None


def test_average_loss_is_the_mean_of_the_last(tmp_path):
    solver, recorder = make_solver(tmp_path, "display: 1 average_loss: 2"), Recorder()
    solver.add_listener(recorder)
    solver.step(4)
    losses = [loss for _, loss in recorder.iterations]
    expected = [losses[0]] + [(a + b) / 2 for a, b in pairwise(losses)]
    assert [e.smoothed_loss for e in recorder.displays] == pytest.approx(expected)
    assert len(set(losses)) == 4


def test_debug_info_shows_the_displayed_iterations(tmp_path, caplog):
    caplog.set_level(logging.INFO, "caffe_spn")
    make_solver(tmp_path, "debug_info: true display: 2").step(2)
    messages = [r.getMessage() for r in caplog.records if "ward]" in r.getMessage()]
    assert [m.split(": ")[0] for m in messages] == [
        "    [Forward] Layer d, top blob x data",
        "    [Forward] Layer d, top blob t data",
        "    [Forward] Layer i, top blob y data",
        "    [Forward] Layer i, param blob 0 data",
        "    [Forward] Layer i, param blob 1 data",
        "    [Forward] Layer l, top blob loss data",
        "    [Backward] Layer l, bottom blob y diff",
        "    [Backward] Layer i, param blob 0 diff",
        "    [Backward] Layer i, param blob 1 diff",
        "    [Backward] All net params (data, diff)",
    ]
    assert messages[0].endswith("data: 0.5")


def test_debug_info_calls_parameters_by_name_only_on_the_way_forward(tmp_path, caplog):
    caplog.set_level(logging.INFO, "caffe_spn")
    net = NET.replace('top: "y"', 'top: "y" param { name: "w" }')
    make_solver(tmp_path, "debug_info: true display: 1", net=net).step(1)
    messages = [r.getMessage().split(": ")[0] for r in caplog.records]
    assert "    [Forward] Layer i, param blob w data" in messages
    assert "    [Backward] Layer i, param blob 0 diff" in messages


# What cannot go on


def test_a_loss_that_is_not_finite_names_the_first_layer(tmp_path):
    solver = make_solver(tmp_path)
    solver.step(1)
    before = weights(solver)
    data = solver.net.layer_dict["d"]
    forward = data.forward

    def broken(bottom, top):
        forward(bottom, top)
        top[0].data[1, 2] = np.nan

    data.forward = broken
    with pytest.raises(TrainingError) as error:
        solver.step(1)
    text = str(error.value)
    assert "in iteration 1 (lr = 0.1)" in text
    assert "'x' of layer 'd' (DummyData): 1 of its 6 numbers" in text
    assert "base_lr" in error.value.help
    np.testing.assert_array_equal(weights(solver), before)


def test_weights_that_blew_up_are_named(tmp_path):
    solver = make_solver(tmp_path)
    solver.net.params["i"][0].data[0, 0] = np.inf
    with pytest.raises(TrainingError, match="parameter 0 of layer 'i' \\(InnerProduct\\)"):
        solver.step(1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('type: "Adamm"', "unknown solver type 'Adamm'"),
        ("iter_size: 0", "iter_size is 0"),
        ("snapshot: 2 weight_decay: 0.1 regularization_type: 'L3'", "regularization_type 'L3'"),
        ('type: "Adam" momentum: 1', "momentum is 1"),
        ('type: "RMSProp" rms_decay: 1', "rms_decay is 1"),
        ('train_net: "net.prototxt"', "states net, train_net"),
    ],
)
def test_refuses(text, message, tmp_path):
    with pytest.raises(PrototxtError, match=message) as error:
        make_solver(tmp_path, text)
    assert error.value.where == str(tmp_path / "solver.prototxt")
    assert error.value.help


def test_names_the_nearest_type(tmp_path):
    with pytest.raises(PrototxtError, match="did you mean 'AdaGrad'"):
        make_solver(tmp_path, 'type: "Adagrad"')


def test_an_error_in_the_net_names_its_file_and_line(tmp_path):
    with pytest.raises(PrototxtError) as error:
        make_solver(tmp_path, net=DATA + LEARNER.replace("InnerProduct", "InnerProdct"))
    assert str(tmp_path / "net.prototxt:6") in str(error.value)


def test_asking_for_a_gpu_warns_in_one_line(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(device, "_failure", None)
    make_solver(tmp_path, "solver_mode: GPU")
    monkeypatch.setattr(device, "_failure", DeviceError("there is none", help="buy one"))
    make_solver(tmp_path, "solver_mode: GPU")
    asks = "the solver asks for the GPU (solver_mode: GPU); computing on the CPU: "
    assert [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING] == [
        asks + "set_mode_gpu() was not called",
        asks + "there is none",
    ]
