"""Going on from a snapshot: what is refused leaves the running solver as it was."""

import json
import os

import numpy as np
import pytest

from caffe_spn import random
from caffe_spn.errors import WeightsError
from caffe_spn.proto import binary, caffe_pb2
from caffe_spn.solver import SOLVERS
from tests.solver_cases import LEARNER, NET, make_solver

FORMATS = [("", ""), ("snapshot_format: HDF5", ".h5")]
MOMENTUM = {"SGD": 0.9, "Nesterov": 0.9, "AdaDelta": 0.95, "Adam": 0.9}
NOISE = """
layer { name: "d" type: "DummyData" top: "x" top: "t"
        dummy_data_param { shape { dim: 2 dim: 3 } shape { dim: 2 dim: 2 }
                           data_filler { type: "gaussian" } data_filler { type: "gaussian" } } }
layer { name: "drop" type: "Dropout" bottom: "x" top: "x" }
"""


def solver_of(folder, kind="SGD", text="", net=NOISE + LEARNER, name="s"):
    momentum = f"momentum: {MOMENTUM[kind]}" if kind in MOMENTUM else ""
    text = f'type: "{kind}" {momentum} snapshot_prefix: "{folder}/{name}" random_seed: 3 {text}'
    return make_solver(folder, text, net=net)


def everything(solver):
    """All that a restoration may change."""
    arrays = [blob.data.copy() for blob in solver.net.learnable_params]
    arrays += [array.copy() for array in solver.history]
    state = random.generator().bit_generator.state
    return arrays, (solver.iter, solver.current_step, solver.average_loss.state(), state)


def assert_untouched(solver, before):
    now = everything(solver)
    for mine, old in zip(now[0], before[0], strict=True):
        np.testing.assert_array_equal(mine, old)
    assert now[1] == before[1]


@pytest.fixture(params=FORMATS, ids=["binary", "hdf5"])
def snapshots(request, tmp_path):
    """A snapshot after two iterations, and a solver that has gone on from it by one."""
    text, end = request.param
    solver = solver_of(tmp_path, text=text)
    solver.step(2)
    solver.snapshot()
    solver.step(1)
    return solver, str(tmp_path / f"s_iter_2.solverstate{end}"), end


def test_a_state_that_is_cut_off_anywhere(snapshots):
    solver, path, end = snapshots
    with open(path, "rb") as file:
        whole = file.read()
    before = everything(solver)
    for size in range(0, len(whole), 1 if not end else 131):
        if size == len(whole) - 2 and not end:
            # Only "current_step: 0" is missing, which is what no step means.
            continue
        with open(path, "wb") as file:
            file.write(whole[:size])
        with pytest.raises(WeightsError) as caught:
            solver.restore(path)
        assert path in str(caught.value)
        assert_untouched(solver, before)
    solver.step(1)
    assert solver.iter == 4


def test_weights_that_are_cut_off_anywhere(snapshots):
    solver, path, end = snapshots
    weights = path.replace("solverstate", "caffemodel")
    with open(weights, "rb") as file:
        whole = file.read()
    before = everything(solver)
    for size in range(0, len(whole), 3 if not end else 131):
        with open(weights, "wb") as file:
            file.write(whole[:size])
        try:
            solver.restore(path)
        except WeightsError:
            assert_untouched(solver, before)
        else:
            # What is missing has no weights: the loss.
            assert solver.iter == 2
            assert not end and size > whole.index(b"EuclideanLoss") - 30
            break


def test_weights_that_lack_a_layer(snapshots, tmp_path):
    solver, path, end = snapshots
    if end:
        pytest.skip("the binary one can end between two layers")
    net = binary.read(tmp_path / "s_iter_2.caffemodel", caffe_pb2.NetParameter)
    kept = [layer for layer in net.layer if layer.name != "i"]
    binary.write(tmp_path / "s_iter_2.caffemodel", caffe_pb2.NetParameter(layer=kept))
    with pytest.raises(WeightsError, match="has no weights for i") as caught:
        solver.restore(path)
    assert caught.value.where.endswith("s_iter_2.caffemodel")


def test_additional_state_that_fails_midway_is_undone(snapshots, tmp_path):
    solver, path, _ = snapshots
    extra = json.loads((tmp_path / "s_iter_2.state.json").read_text())
    extra["nets"][0]["drop"] = {"nonsense": 1}
    (tmp_path / "s_iter_2.state.json").write_text(json.dumps(extra))
    before = everything(solver)
    with pytest.raises(WeightsError, match="cannot be read"):
        solver.restore(path)
    assert_untouched(solver, before)


# Another type of solver


@pytest.mark.parametrize("theirs", SOLVERS)
@pytest.mark.parametrize("ours", SOLVERS)
def test_another_type_is_refused(theirs, ours, tmp_path):
    first = solver_of(tmp_path, theirs)
    first.step(1)
    first.snapshot()
    second = solver_of(tmp_path, ours)
    before = everything(second)
    path = tmp_path / "s_iter_1.solverstate"
    if ours == theirs:
        second.restore(path)
        assert second.iter == 1
        return
    with pytest.raises(WeightsError) as caught:
        second.restore(path)
    assert caught.value.message == f"is a snapshot of {theirs}; this solver is {ours}"
    assert caught.value.where == str(path)
    assert_untouched(second, before)


@pytest.mark.parametrize(
    "theirs, ours, finding",
    [
        ("SGD", "AdaGrad", "history 0 has negative numbers"),
        ("Nesterov", "RMSProp", "history 0 has negative numbers"),
        ("Adam", "AdaDelta", "history 0 has negative numbers"),
        ("SGD", "Adam", "has 2 history blobs; this solver keeps 4"),
    ],
)
def test_another_type_in_a_snapshot_of_caffes(theirs, ours, finding, tmp_path):
    """Which does not say its type."""
    first = solver_of(tmp_path, theirs, net=NET.replace("value: 1 }", "value: -1 }"))
    first.step(1)
    for array in first.history[: len(first.net.learnable_params)]:
        array -= 0.5
    first.snapshot()
    os.remove(tmp_path / "s_iter_1.state.json")
    with pytest.raises(WeightsError, match=finding):
        solver_of(tmp_path, ours, net=NET).restore(tmp_path / "s_iter_1.solverstate")
