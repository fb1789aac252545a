"""Snapshots: Caffe's layout, going on bit for bit, and what happens when they cannot be written."""

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys

import h5py
import numpy as np
import pytest

from caffe_spn import snapshot
from caffe_spn.errors import TrainingError, WeightsError
from caffe_spn.proto import binary, caffe_pb2
from caffe_spn.solver import get_solver
from tests import golden_cases as golden
from tests.solver_cases import Recorder, make_solver, weights

CASE = next(c for c in golden.cases("solver") if c["name"] == "solver_adam_other_settings")
MOMENTUM = "momentum: 0.9"
HDF5 = "snapshot_format: HDF5"


def make_prefixed(tmp_path, text="", **arguments):
    return make_solver(tmp_path, f'{MOMENTUM} snapshot_prefix: "{tmp_path}/s" {text}', **arguments)


# Caffe's layout


def test_binary_state_is_what_caffe_wrote(tmp_path):
    with golden.copied(CASE, tmp_path):
        solver = get_solver(CASE["name"] + ".solver.prototxt")
        theirs = binary.read(CASE["name"] + "_iter_5.solverstate", caffe_pb2.SolverState)
        solver.restore(CASE["name"] + "_iter_5.solverstate")
        for name in os.listdir():
            if "_iter_5" in name:
                os.remove(name)
        solver.snapshot()
        ours = binary.read(CASE["name"] + "_iter_5.solverstate", caffe_pb2.SolverState)
    assert ours == theirs


def test_hdf5_state_has_caffes_types(tmp_path):
    name = CASE["name"] + "_iter_5.solverstate.h5"
    with golden.copied(CASE, tmp_path):
        theirs = snapshot.read_state(name)
        snapshot.write_state("ours.solverstate.h5", theirs)
        with h5py.File(name) as want, h5py.File("ours.solverstate.h5") as got:
            assert datasets(got) == datasets(want)
            np.testing.assert_array_equal(got["history/3"][()], want["history/3"][()])


def datasets(file):
    """Name to everything that a reader of the file can tell about the dataset but its values."""
    found = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            kind = item.id.get_type()
            pad = kind.get_strpad() if isinstance(kind, h5py.h5t.TypeStringID) else None
            found[name] = (item.shape, kind.get_class(), kind.get_size(), pad)

    file.visititems(visit)
    return found


@pytest.mark.parametrize(("text", "end"), [("", ""), (HDF5, ".h5")])
def test_files_of_a_snapshot(text, end, tmp_path):
    solver, recorder = make_prefixed(tmp_path, f"snapshot: 2 {text}"), Recorder()
    solver.add_listener(recorder)
    solver.solve()
    names = {n for n in os.listdir(tmp_path) if n.startswith("s_")}
    assert names == {
        f"s_iter_{i}.{kind}"
        for i in (2, 4)
        for kind in (f"caffemodel{end}", f"solverstate{end}", "state.json")
    }
    assert recorder.snapshots[0].state == f"{tmp_path}/s_iter_2.solverstate{end}"


def test_snapshot_diff_keeps_the_diffs(tmp_path):
    solver = make_prefixed(tmp_path, "snapshot_diff: true")
    solver.step(1)
    solver.snapshot()
    net = binary.read(f"{tmp_path}/s_iter_1.caffemodel", caffe_pb2.NetParameter)
    (layer,) = (layer for layer in net.layer if layer.name == "i")
    np.testing.assert_array_equal(layer.blobs[1].diff, solver.net.params["i"][1].diff)


# Going on


@pytest.mark.parametrize("text", ["", HDF5])
def test_restored_solver_goes_on_alike(text, tmp_path):
    whole = make_prefixed(tmp_path, f"{text} snapshot: 2 display: 1 average_loss: 3")
    heard = Recorder()
    whole.add_listener(heard)
    whole.solve()
    resumed, again = make_prefixed(tmp_path, "display: 1 average_loss: 3"), Recorder()
    resumed.add_listener(again)
    resumed.solve(f"{tmp_path}/s_iter_2.solverstate{'.h5' if text else ''}")
    assert resumed.iter == 4
    np.testing.assert_array_equal(weights(resumed), weights(whole))
    for mine, theirs in zip(resumed.history, whole.history, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert again.iterations == heard.iterations[2:]
    assert [e.smoothed_loss for e in again.displays] == [
        e.smoothed_loss for e in heard.displays[2:]
    ]


TRAIN = """
import os, signal, sys
from caffe_spn.solver import get_solver
from caffe_spn.training_log import JsonLog

state, kill, log = sys.argv[1:]
if kill:
    replace = os.replace
    def interrupted(source, target):
        if target.endswith(kill):
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)
    os.replace = interrupted
solver = get_solver("solver.prototxt")
solver.add_listener(JsonLog(log))
solver.solve(state or None)
"""

NOISY_NET = """
layer { name: "d" type: "HDF5Data" top: "x" top: "t"
        hdf5_data_param { source: "list.txt" batch_size: 3 shuffle: true } }
layer { name: "i1" type: "InnerProduct" bottom: "x" top: "h"
        inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "drop" type: "Dropout" bottom: "h" top: "h" }
layer { name: "i" type: "InnerProduct" bottom: "h" top: "y"
        inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "l" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }
"""


def train(folder, state="", kill=""):
    command = [sys.executable, "-c", TRAIN, state, kill, "log.jsonl"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


def losses(folder):
    """Iteration to what was shown there; what comes later wins, as after a resumption."""
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return {
        (r["event"], r["iter"]): (r["loss"], r["outputs"])
        for r in records
        if r["event"] != "snapshot"
    }


def test_a_killed_and_resumed_training_equals_an_uninterrupted_one(tmp_path):
    """Shuffled data, dropout, tests and averaged losses; killed while it writes a snapshot."""
    for folder in (tmp_path / "whole", tmp_path / "killed"):
        folder.mkdir()
        (folder / "net.prototxt").write_text(NOISY_NET)
        (folder / "list.txt").write_text("data.h5\n")
        (folder / "solver.prototxt").write_text(
            'net: "net.prototxt" base_lr: 0.05 lr_policy: "inv" gamma: 0.1 power: 0.5 momentum: 0.9'
            " max_iter: 12 snapshot: 3 display: 1 average_loss: 4 random_seed: 7"
            ' test_iter: 2 test_interval: 4 snapshot_prefix: "s"'
        )
        with h5py.File(folder / "data.h5", "w") as file:
            rng = np.random.default_rng(0)
            file["x"] = rng.normal(size=(10, 4)).astype(np.float32)
            file["t"] = rng.normal(size=(10, 2)).astype(np.float32)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    done = train(whole)
    assert done.returncode == 0, done.stderr
    assert train(killed, kill="s_iter_9.solverstate").returncode == -signal.SIGKILL
    states = sorted(p.name for p in killed.glob("*.solverstate"))
    assert states == ["s_iter_3.solverstate", "s_iter_6.solverstate"]
    done = train(killed, state=states[-1])
    assert done.returncode == 0, done.stderr
    for end in ("caffemodel", "solverstate", "state.json"):
        name = f"s_iter_12.{end}"
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    assert losses(killed) == losses(whole)


def test_moved_snapshot_finds_its_weights_beside_it(tmp_path):
    solver = make_prefixed(tmp_path)
    solver.step(1)
    solver.snapshot()
    expected = weights(solver)
    (tmp_path / "moved").mkdir()
    for name in ("s_iter_1.caffemodel", "s_iter_1.solverstate"):
        shutil.move(tmp_path / name, tmp_path / "moved" / name)
    fresh = make_prefixed(tmp_path)
    fresh.restore(tmp_path / "moved" / "s_iter_1.solverstate")
    np.testing.assert_array_equal(weights(fresh), expected)


def test_additional_state_of_another_iteration_is_left_aside(tmp_path):
    solver = make_prefixed(tmp_path, "average_loss: 2")
    solver.step(1)
    solver.snapshot()
    path = tmp_path / "s_iter_1.state.json"
    extra = json.loads(path.read_text())
    extra["iter"], extra["average_loss"]["value"] = 99, 1234.5
    path.write_text(json.dumps(extra))
    fresh = make_prefixed(tmp_path, "average_loss: 2")
    fresh.restore(tmp_path / "s_iter_1.solverstate")
    assert fresh.average_loss.value == 0


# What goes wrong


@contextlib.contextmanager
def no_room_for_files_over(size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("text", ["", HDF5])
def test_a_snapshot_that_cannot_be_written_leaves_the_last_one(text, tmp_path):
    solver = make_prefixed(tmp_path, text)
    solver.snapshot()
    before = {p.name: p.read_bytes() for p in tmp_path.glob("s_*")}
    assert len(before) == 3
    solver.net.params["i"][0].data[...] = 5
    with no_room_for_files_over(64), pytest.raises(WeightsError) as error:
        solver.snapshot()
    assert str(tmp_path / "s_iter_0.caffemodel") in str(error.value)
    assert ".tmp" not in str(error.value)
    assert error.value.help
    assert {p.name: p.read_bytes() for p in tmp_path.glob("s_*")} == before


def test_a_state_that_is_not_finite_is_never_written(tmp_path):
    solver = make_prefixed(tmp_path)
    solver.net.params["i"][1].data[0] = np.nan
    with pytest.raises(TrainingError, match="parameter 1 of layer 'i'"):
        solver.snapshot()
    solver.net.params["i"][1].data[0] = 0
    solver.history[0][0, 0] = np.inf
    with pytest.raises(TrainingError, match="history"):
        solver.snapshot()
    assert not list(tmp_path.glob("s_*"))


def test_a_snapshot_makes_its_folder(tmp_path):
    make_solver(tmp_path, f'snapshot_prefix: "{tmp_path}/new/s"').solve()
    assert (tmp_path / "new" / "s_iter_4.solverstate").exists()


def test_restoring_another_network_lists_all_misfits(tmp_path):
    solver = make_prefixed(tmp_path)
    solver.snapshot()
    net = (tmp_path / "net.prototxt").read_text().replace("num_output: 2", "num_output: 4")
    net = net.replace("dim: 2 dim: 2", "dim: 2 dim: 4")
    other = make_prefixed(tmp_path, net=net)
    with pytest.raises(WeightsError) as error:
        other.restore(tmp_path / "s_iter_0.solverstate")
    assert "history 0 is (2, 3); the parameter is (4, 3)" in error.value.message
    assert "history 1 is (2,); the parameter is (4,)" in error.value.message


def test_restoring_another_type_says_so(tmp_path):
    make_prefixed(tmp_path).snapshot()
    # As Caffe leaves it, which does not say the type.
    os.remove(tmp_path / "s_iter_0.state.json")
    other = make_prefixed(tmp_path, 'type: "Adam"')
    with pytest.raises(WeightsError, match="has 2 history blobs; this solver keeps 4"):
        other.restore(tmp_path / "s_iter_0.solverstate")


def test_missing_weights_name_both_places(tmp_path):
    make_prefixed(tmp_path).snapshot()
    (tmp_path / "moved").mkdir()
    shutil.move(tmp_path / "s_iter_0.solverstate", tmp_path / "moved" / "s_iter_0.solverstate")
    os.remove(tmp_path / "s_iter_0.caffemodel")
    with pytest.raises(WeightsError) as error:
        make_prefixed(tmp_path).restore(tmp_path / "moved" / "s_iter_0.solverstate")
    assert f"neither {tmp_path}/s_iter_0.caffemodel nor {tmp_path}/moved/" in error.value.message


@pytest.mark.parametrize("end", ["solverstate", "solverstate.h5"])
def test_state_that_is_missing_or_damaged(end, tmp_path):
    solver = make_prefixed(tmp_path)
    with pytest.raises(WeightsError, match="no such solver state"):
        solver.restore(tmp_path / f"none.{end}")
    make_prefixed(tmp_path, HDF5 if end.endswith("h5") else "").snapshot()
    whole = (tmp_path / f"s_iter_0.{end}").read_bytes()
    for size in (0, 10, len(whole) // 2):
        (tmp_path / f"cut.{end}").write_bytes(whole[:size])
        with pytest.raises(WeightsError):
            solver.restore(tmp_path / f"cut.{end}")


def test_weights_given_as_state_are_refused(tmp_path):
    solver = make_prefixed(tmp_path)
    solver.snapshot()
    with pytest.raises(WeightsError):
        solver.restore(tmp_path / "s_iter_0.caffemodel")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 2}', '{"version": 1, "iter": 0}'])
def test_additional_state_that_makes_no_sense(content, tmp_path):
    solver = make_prefixed(tmp_path)
    solver.snapshot()
    (tmp_path / "s_iter_0.state.json").write_text(content)
    with pytest.raises(WeightsError) as error:
        solver.restore(tmp_path / "s_iter_0.solverstate")
    assert error.value.where == str(tmp_path / "s_iter_0.state.json")
    assert "delete it" in error.value.help
