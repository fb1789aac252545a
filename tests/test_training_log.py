"""The lines of training against those recorded from `caffe train`, and as JSON."""

import io
import json
import logging
import re
import threading

import pytest

import caffe_spn as caffe
from caffe_spn import training_log
from caffe_spn.average_loss import AverageLoss
from caffe_spn.solver import get_solver
from tests import golden_cases as golden
from tests.solver_cases import make_solver

GLOG = re.compile(r"[IWEF]\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ [\w.]+:\d+\] (.*)")
NUMBER = re.compile(r"-?\d+\.?\d*(?:e[-+]\d+)?")


@pytest.fixture
def log():
    """What the package logs, in glog's format; quiet again afterwards."""
    logger = training_log.logger
    before = logger.level, logger.propagate
    stream = io.StringIO()
    handler = training_log.init_log(stream=stream)
    yield stream
    logger.removeHandler(handler)
    logger.setLevel(before[0])
    logger.propagate = before[1]


def messages(log):
    return [GLOG.fullmatch(line)[1] for line in log.getvalue().splitlines()]


def test_lines_are_caffes(log, tmp_path):
    (case,) = (c for c in golden.cases("solver") if c["name"] == "solver_sgd_log_multistep")
    with golden.copied(case, tmp_path):
        get_solver(case["name"] + ".solver.prototxt").solve()
    got = messages(log)
    got = got[got.index("Solving solver_sgd_log_multistep") :]
    want = (golden.FOLDER / f"{case['name']}.log.txt").read_text().splitlines()
    assert len(got) == len(want)
    for line, recorded in zip(got, want, strict=True):
        # The record has no timings, and its numbers are rounded to six digits.
        line = re.sub(r" \([^ ]+ iter/s, [^)]*\)", "", line)
        assert NUMBER.sub("#", line) == NUMBER.sub("#", recorded)
        numbers = [float(x) for x in NUMBER.findall(recorded)]
        assert [float(x) for x in NUMBER.findall(line)] == pytest.approx(numbers, rel=2e-5)


def test_lines_of_tests_and_snapshots(log, tmp_path):
    text = f'test_iter: 2 test_interval: 4 test_compute_loss: true snapshot_prefix: "{tmp_path}/s"'
    make_solver(tmp_path, text).solve()
    got = messages(log)
    assert "Iteration 0, Testing net (#0)" in got
    assert any(re.fullmatch(r"Test loss: [\d.]+", line) for line in got)
    pattern = r"    Test net output #0: loss = ([\d.]+) \(\* 1 = \1 loss\)"
    assert sum(re.fullmatch(pattern, line) is not None for line in got) == 2
    assert f"Snapshotting to binary proto file {tmp_path}/s_iter_4.caffemodel" in got
    assert f"Snapshotting solver state to binary proto file {tmp_path}/s_iter_4.solverstate" in got
    assert got[-1] == "Optimization Done."


def test_display_line_has_the_timings_that_parse_log_reads(log, tmp_path):
    make_solver(tmp_path, "display: 1").step(1)
    line = next(m for m in messages(log) if m.startswith("Iteration 0 "))
    assert re.fullmatch(r"Iteration 0 \(\S+ iter/s, \S+s/1 iters\), loss = \S+", line)


def test_quiet_without_init_log(tmp_path, capfd):
    make_solver(tmp_path, "display: 1").step(1)
    assert capfd.readouterr() == ("", "")


def test_init_log_twice_shows_lines_once(log):
    again = training_log.init_log(stream=log)
    try:
        caffe.log("once")
        logging.getLogger("caffe_spn").warning("careful")
    finally:
        training_log.logger.removeHandler(again)
    assert messages(log) == ["once", "careful"]
    assert [line[0] for line in log.getvalue().splitlines()] == ["I", "W"]


def test_init_log_level(log):
    handler = training_log.init_log(2, log)
    training_log.info("hidden", "here.cpp:1")
    training_log.logger.error("shown")
    training_log.logger.removeHandler(handler)
    assert messages(log) == ["shown"]


def test_json_log_has_one_object_an_event(tmp_path):
    text = f'display: 2 test_iter: 1 test_interval: 4 snapshot_prefix: "{tmp_path}/s"'
    solver = make_solver(tmp_path, text)
    json_log = training_log.JsonLog(tmp_path / "log.jsonl")
    solver.add_listener(json_log)
    solver.solve()
    json_log.close()
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(r["event"], r["iter"]) for r in records] == [
        ("test", 0), ("display", 0), ("display", 2), ("snapshot", 4), ("test", 4),
    ]  # fmt: skip
    assert records[1]["lr"] == pytest.approx(0.1)
    assert records[1]["outputs"][0]["name"] == "loss"
    assert records[1]["smoothed_loss"] == records[1]["loss"] > 0


def test_json_log_writes_null_for_nan(tmp_path):
    json_log = training_log.JsonLog(tmp_path / "log.jsonl")
    json_log.on_test(training_log.Test(1, 0, [training_log.Output("acc", float("nan"))]))
    json_log.close()
    assert json.loads((tmp_path / "log.jsonl").read_text())["outputs"][0]["value"] is None


def test_average_loss_goes_on_from_its_state():
    losses = [5.0, 3.0, 4.0, 1.0, 2.0]
    whole, first, second = AverageLoss(3), AverageLoss(3), AverageLoss(3)
    for loss in losses:
        whole.add(loss)
    for loss in losses[:2]:
        first.add(loss)
    second.restore_state(json.loads(json.dumps(first.state())))
    for loss in losses[2:]:
        second.add(loss)
    assert second.value == whole.value == pytest.approx(sum(losses[2:]) / 3)


def test_logging_from_another_thread(log):
    thread = threading.Thread(target=training_log.info, args=("hello", "a.cpp:1"))
    thread.start()
    thread.join()
    assert messages(log) == ["hello"]
