"""Which solver definitions build, and which nets they make: the recorded cases, and file places."""

import json
import logging
import os

import pytest

import caffe_spn as caffe
from caffe_spn.errors import CaffeSpnError, PrototxtError, WeightsError
from caffe_spn.proto import caffe_pb2
from caffe_spn.solver import get_solver
from caffe_spn.solver_definition import SolverDefinition
from tests import golden_cases as golden
from tests.solver_cases import NET, make_solver, weights

PHASE_CASES = [c for c in golden.cases("phase") if "solver" in c["name"]]


@pytest.mark.parametrize("case", golden.cases("text_solver"), ids=golden.case_id)
def test_builds_what_caffe_builds(case, tmp_path):
    with golden.copied(case, tmp_path):
        path = case["name"] + ".solver.prototxt"
        if case["expect"] == "ok":
            solver = get_solver(path)
            solver.step(1)
            assert solver.iter == 1
        else:
            with pytest.raises(CaffeSpnError) as error:
                get_solver(path)
            assert error.value.where


@pytest.mark.parametrize("case", PHASE_CASES, ids=golden.case_id)
def test_nets_have_the_layers_of_their_state(case, tmp_path):
    with golden.copied(case, tmp_path):
        path = case["name"] + ".solver.prototxt"
        want = json.loads((tmp_path / f"{case['name']}.json").read_text())
        if want["expect"] == "error":
            with pytest.raises(CaffeSpnError, match="test_state"):
                get_solver(path)
            return
        solver = get_solver(path)
        for net, wanted in zip(
            (solver.net, *solver.test_nets), (want["train"], *want["test"]), strict=True
        ):
            assert list(net._layer_names) == wanted["layers"]
            assert list(net.outputs) == wanted["outputs"]


def test_files_are_found_here_first_then_beside_the_solver(tmp_path, monkeypatch):
    make_solver(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert get_solver(tmp_path / "solver.prototxt").net.name == "tiny"
    (elsewhere / "net.prototxt").write_text(NET.replace("tiny", "nearer"))
    assert get_solver(tmp_path / "solver.prototxt").net.name == "nearer"


def test_from_a_message():
    param = caffe_pb2.SolverParameter(base_lr=0.1, lr_policy="fixed", max_iter=1)
    caffe.proto.text.parse(NET, param.net_param)
    solver = get_solver(param)
    solver.step(1)
    assert solver.iter == 1
    assert not param.net_param.HasField("state")


@pytest.mark.parametrize(
    "stated, lines",
    [
        (
            f"net_param {{ {NET} }} test_iter: 1 test_interval: 1",
            [
                "Creating training net specified in net_param.",
                "Creating test net (#0) specified by net_param",
            ],
        ),
        (
            f'train_net: "net.prototxt" test_net_param {{ {NET} }} test_iter: 1 test_interval: 1',
            [
                "Creating training net from train_net file: net.prototxt",
                "Creating test net (#0) specified by test_net_param",
            ],
        ),
    ],
)
def test_the_log_says_where_nets_come_from_as_caffes_does(tmp_path, caplog, stated, lines):
    caplog.set_level(logging.INFO, "caffe_spn")
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "solver.prototxt").write_text(f'base_lr: 0.1 lr_policy: "fixed" {stated}')
    get_solver(tmp_path / "solver.prototxt")
    found = [r.getMessage() for r in caplog.records]
    assert [line for line in found if line.startswith("Creating")] == lines


def test_old_solver_type(tmp_path):
    assert make_solver(tmp_path, "solver_type: NESTEROV").type == "Nesterov"


def test_snapshot_prefix_follows_the_file(tmp_path):
    (tmp_path / "out").mkdir()
    for stated, expected in (
        ("", tmp_path / "lenet"),
        (f'snapshot_prefix: "{tmp_path}/out"', tmp_path / "out" / "lenet"),
        (f'snapshot_prefix: "{tmp_path}/out/x"', tmp_path / "out" / "x"),
    ):
        (tmp_path / "lenet.prototxt").write_text(stated)
        definition = SolverDefinition(tmp_path / "lenet.prototxt")
        assert definition.param.snapshot_prefix == str(expected)


def test_weights_may_be_several_in_one_entry(tmp_path):
    solver = make_solver(tmp_path)
    solver.net.params["i"][0].data[...] = 7
    solver.net.save(str(tmp_path / "a.caffemodel"))
    text = 'weights: "a.caffemodel, a.caffemodel" test_iter: 1 test_interval: 1'
    fresh = make_solver(tmp_path, text)
    assert (weights(fresh) == 7).all()
    assert (fresh.test_nets[0].params["i"][0].data == 7).all()


@pytest.mark.parametrize("stated", ['weights: ""', 'weights: "a.caffemodel,"'])
def test_weights_without_a_name_are_refused(tmp_path, stated):
    with pytest.raises(PrototxtError, match="weights names no file"):
        make_solver(tmp_path, stated)


def test_random_seed_repeats_the_initial_weights(tmp_path):
    net = NET.replace("weight_filler { value: 0.1 }", 'weight_filler { type: "xavier" }')
    first, again, other = (
        weights(make_solver(tmp_path, f"random_seed: {seed}", net=net)) for seed in (3, 3, 4)
    )
    assert (first == again).all()
    assert (first != other).any()


def test_snapshot_folder_is_refused_or_made(tmp_path):
    text = f'snapshot: 2 snapshot_prefix: "{tmp_path}/new/deep/s"'
    with pytest.raises(WeightsError, match="cannot write to snapshot prefix") as error:
        make_solver(tmp_path, text)
    assert "make the folder" in error.value.help
    make_solver(tmp_path, text, create_snapshot_dir=True)
    assert os.listdir(tmp_path / "new" / "deep") == []


def test_no_folder_is_made_where_no_snapshot_is_taken(tmp_path):
    text = f'snapshot_after_train: false snapshot_prefix: "{tmp_path}/new/s"'
    make_solver(tmp_path, text, create_snapshot_dir=True).solve()
    assert not (tmp_path / "new").exists()


def test_snapshot_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    text = f'snapshot: 2 snapshot_prefix: "{tmp_path}/file/s"'
    with pytest.raises(WeightsError, match="cannot write to snapshot prefix"):
        make_solver(tmp_path, text, create_snapshot_dir=True)
