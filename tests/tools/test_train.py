"""caffe-spn train: logs, snapshots, going on, signals, what is refused."""

import json
import re
import signal
import subprocess

import pytest

import caffe_spn as caffe
from caffe_spn.proto import caffe_pb2
from caffe_spn.tools.loss_plot import curves, plot
from caffe_spn.tools.train import newest_snapshot
from caffe_spn.tools.train_output import TrainOutput
from tests.tools.cli import SOLVER, caffe_spn, command, error, write_tiny


def parse_log(text):
    """The numbers of a training log, found as Caffe's parse_log.py finds them."""
    train, test, iteration, rate = [], [], -1, None
    for line in text.splitlines():
        assert re.match(r"[IWE]\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ \S+\] ", line), line
        if found := re.search(r"Iteration (\d+)", line):
            iteration = int(found[1])
        if found := re.search(r"lr = ([-+]?\d*\.?\d+([eE][-+]?\d+)?)", line):
            rate = float(found[1])
        for rows, word in ((train, "Train"), (test, "Test")):
            if found := re.search(word + r" net output #(\d+): (\S+) = ([\.\deE+-]+)", line):
                rows.append((iteration, found[2], float(found[3])))
    return train, test, rate


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with an uninterrupted training, and its log."""
    folder = tmp_path_factory.mktemp("trained")
    write_tiny(folder)
    result = caffe_spn(folder, "train", "-solver", "solver.prototxt", "--log", "logs/run.log")
    assert result.returncode == 0, result.stderr
    return folder, result.stderr


def weights(folder, iteration):
    return (folder / f"out/deep/net_iter_{iteration}.caffemodel").read_bytes()


def test_log_is_caffe_s(trained):
    folder, shown = trained
    train, test, rate = parse_log(shown)
    assert [row[:2] for row in train] == [(i, name) for i in (0, 2, 4, 6) for name in OUTPUTS[:1]]
    assert [row[:2] for row in test] == [(i, name) for i in (4, 8) for name in OUTPUTS[::-1]]
    assert rate == pytest.approx(0.05)
    assert train[-1][2] < train[0][2]
    for line in ("Solving tiny", "Starting Optimization", "Optimization Done."):
        assert line in shown
    # The file has the same lines; the one on the curves comes when it is complete.
    logged = (folder / "logs/run.log").read_text()
    assert parse_log(logged) == (train, test, rate)


OUTPUTS = ("loss", "accuracy")


def test_json_log_says_the_same(trained):
    folder, shown = trained
    records = [json.loads(line) for line in (folder / "logs/run.jsonl").read_text().splitlines()]
    events = [(record["event"], record["iter"]) for record in records]
    assert events == [
        ("display", 0),
        ("display", 2),
        ("snapshot", 4),
        ("test", 4),
        ("display", 4),
        ("display", 6),
        ("snapshot", 8),
        ("test", 8),
    ]
    values = [r["outputs"][0]["value"] for r in records if r["event"] == "display"]
    assert values == pytest.approx([row[2] for row in parse_log(shown)[0]], rel=1e-5)


def test_curves_are_drawn(trained):
    pytest.importorskip("matplotlib")
    from PIL import Image

    folder, shown = trained
    assert "curves: logs/run.png" in shown
    assert Image.open(folder / "logs/run.png").size == (800, 640)


def test_the_missing_folder_of_snapshots_is_made(trained):
    folder, _ = trained
    names = {path.name for path in (folder / "out/deep").iterdir()}
    assert {"net_iter_4.solverstate", "net_iter_8.caffemodel"} <= names


def test_a_resumed_training_is_the_uninterrupted_one(trained, tmp_path):
    folder, _ = trained
    write_tiny(tmp_path)
    arguments = ("train", "--solver", "solver.prototxt", "--resume", "auto")
    first = caffe_spn(tmp_path, *arguments, "--iterations", 5)
    assert "no snapshot at out/deep/net yet" in first.stderr
    assert (tmp_path / "out/deep/net_iter_5.solverstate").exists()
    second = caffe_spn(tmp_path, *arguments)
    said = [line.split("] ", 1)[-1] for line in second.stderr.splitlines()]
    # The state is restored before the training begins, with Caffe's lines in Caffe's order.
    order = ["Use CPU.", "Resuming from out/deep/net_iter_5.solverstate"]
    order += ["SGDSolver: restoring history", "Starting Optimization", "Solving tiny"]
    assert [line for line in said if line in order] == order
    assert weights(tmp_path, 8) == weights(folder, 8)
    # Caffe's own spelling.
    third = caffe_spn(
        tmp_path, "train", "-solver=solver.prototxt", "-snapshot=out/deep/net_iter_4.solverstate"
    )
    assert third.returncode == 0
    assert weights(tmp_path, 8) == weights(folder, 8)


def test_newest_snapshot(tmp_path):
    prefix = str(tmp_path / "a[1]")
    assert newest_snapshot(prefix) is None
    names = ("9.solverstate", "10.solverstate.h5", "10.caffemodel", "x.solverstate", "11.tmp")
    for name in names:
        (tmp_path / f"a[1]_iter_{name}").touch()
    (tmp_path / "a[1]_old_iter_99.solverstate").touch()
    assert newest_snapshot(prefix) == f"{prefix}_iter_10.solverstate.h5"


def test_initial_weights(tmp_path):
    write_tiny(tmp_path)
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TRAIN)
    net.params["conv"][0].data[...] = 0.5
    net.params["conv"][1].data[...] = 2
    net.save(str(tmp_path / "start.caffemodel"))
    (tmp_path / "solver.prototxt").write_text(SOLVER.replace("0.05", "0"))
    result = caffe_spn(
        tmp_path, "train", "--solver", "solver.prototxt", "--weights", "start.caffemodel"
    )
    assert result.returncode == 0
    after = caffe_pb2.NetParameter.FromString(weights(tmp_path, 8))
    (conv,) = [layer for layer in after.layer if layer.name == "conv"]
    assert list(conv.blobs[1].data) == [2, 2]
    missing = ("train", "--solver", "solver.prototxt", "--weights", "start.caffemodel,b.caffemodel")
    assert "\nb.caffemodel\n" in error(tmp_path, *missing)


def test_stage_reaches_the_net(tmp_path):
    silence = 'layer { type: "Silence" bottom: "label" include { stage: "odd" } }'
    write_tiny(tmp_path, net=silence)
    arguments = ("train", "--solver", "solver.prototxt", "--iterations", 1)
    # Without the stage there is nothing to find fault with, nor to train.
    assert "bottom 0 is 'label'" in error(tmp_path, *arguments, "--stage", "odd")


# Signals


def _start_and_signal(folder, number, *arguments):
    """Start a long training, send a signal once it runs; returns the ended process' exit code."""
    solver = SOLVER.replace("max_iter: 8", "max_iter: 1000000").replace("snapshot: 4", "")
    write_tiny(folder, solver.replace("test_interval: 4", "test_interval: 1000000"))
    process = subprocess.Popen(
        command("train", "--solver", "solver.prototxt", *arguments),
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "Iteration 20 " in line:
            process.send_signal(number)
        elif "Snapshotting solver state" in line and number == signal.SIGHUP:
            # Once: a second Ctrl-C would interrupt the last snapshot.
            number = process.send_signal(signal.SIGINT)
    process.stderr.close()
    return process.wait(), "".join(lines)


def test_ctrl_c_stops_in_good_order(tmp_path):
    code, shown = _start_and_signal(tmp_path, signal.SIGINT, "--log", "run.log")
    assert code == 130, shown
    assert "Optimization stopped early." in shown
    assert "--resume auto goes on from the newest snapshot" in shown
    assert "Traceback" not in shown
    (snapshot,) = (tmp_path / "out/deep").glob("*.solverstate")
    assert int(re.search(r"iter_(\d+)", snapshot.name)[1]) > 20
    parse_log((tmp_path / "run.log").read_text())


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_a_hang_up_takes_a_snapshot_and_goes_on(tmp_path):
    code, shown = _start_and_signal(tmp_path, signal.SIGHUP)
    assert code == 130
    assert shown.count("Snapshotting solver state") == 2
    assert len(list((tmp_path / "out/deep").glob("*.solverstate"))) == 2


# What is refused


def test_files_that_are_missing_or_wrong(tmp_path):
    write_tiny(tmp_path)
    assert "none.prototxt" in error(tmp_path, "train", "--solver", "none.prototxt")
    shown = error(tmp_path, "train", "--solver", "net.prototxt")
    assert "SolverParameter has no field" in shown
    (tmp_path / "bad.solverstate").write_bytes(b"\x99" * 50)
    shown = error(tmp_path, "train", "--solver", "solver.prototxt", "--snapshot", "bad.solverstate")
    assert "bad.solverstate" in shown
    assert "help:" in shown


def test_two_starting_points(tmp_path):
    arguments = ("train", "--solver", "s", "--snapshot", "a.solverstate")
    for other in (("--weights", "b"), ("--resume", "auto")):
        assert "name one starting point" in error(tmp_path, *arguments, *other)


def test_python_layers_are_refused(tmp_path):
    write_tiny(tmp_path, net=PYTHON_NET)
    shown = error(tmp_path, "train", "--solver", "solver.prototxt", "--no-python-layers")
    assert "Python layers are refused" in shown


PYTHON_NET = "layer { type: 'Python' top: 'p' python_param { module: 'os' layer: 'abort' } }"


def test_a_loss_that_is_no_number_is_an_error(tmp_path):
    write_tiny(tmp_path, SOLVER.replace("0.05", "1e38"))
    shown = error(tmp_path, "train", "--solver", "solver.prototxt")
    assert "help: lower base_lr" in shown


# On a terminal


def test_progress_bar_stands_for_the_lines(tmp_path, monkeypatch, capsys):
    write_tiny(tmp_path)
    monkeypatch.chdir(tmp_path)
    from caffe_spn.solver import get_solver

    with TrainOutput(terminal=True) as output:
        solver = get_solver("solver.prototxt", create_snapshot_dir=True)
        output.follow(solver)
        solver.solve()
        output.finish(solver, finished=True)
    shown = capsys.readouterr().err
    assert "8/8" in shown and "lr=0.05" in shown and "loss=" in shown
    assert re.search(r"iteration 8, test net #0: accuracy = [\d.]+, loss = [\d.]+", shown)
    assert "iteration 4: snapshot out/deep/net_iter_4.solverstate" in shown
    assert "solver.cpp" not in shown


# Curves


def test_curves_without_matplotlib(tmp_path, monkeypatch):
    log = tmp_path / "run.jsonl"
    log.write_text('{"event": "snapshot", "iter": 1}\n')
    assert "neither display nor test_interval" in plot(log, tmp_path / "x.png")
    log.write_text('{"event": "display", "iter": 0, "smoothed_loss": 2.5}\n{"event": "disp')
    assert curves(log) == ({0: 2.5}, {})
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    assert "pip install matplotlib" in plot(log, tmp_path / "x.png")
