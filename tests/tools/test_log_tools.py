"""parse_log, extract_seconds, plot_training_log: logs of Caffe, of this package, broken ones."""

import csv
import math
import os
import sys
import time

import pytest
from PIL import Image

from caffe_spn import DataError
from caffe_spn.tools import main as cli
from caffe_spn.tools import plot_training_log
from caffe_spn.tools.caffe_log import dated_lines, read_log
from tests import golden_cases as golden
from tests.tools.cli import caffe_spn, error, write_tiny

# As Caffe 1.0 writes it: over New Year, with two lines that ran into each other.
CAFFE_LOG = """\
I1231 23:59:50.000000  4711 caffe.cpp:217] Using GPUs 0
I1231 23:59:58.500000  4711 solver.cpp:279] Solving LeNet
I1231 23:59:58.600000  4711 solver.cpp:280] Learning Rate Policy: inv
I1231 23:59:59.000000  4711 solver.cpp:337] Iteration 0, Testing net (#0)
I1231 23:59:59.500000  4711 solver.cpp:404]     Test net output #0: accuracy = 0.1066
I1231 23:59:59.500001  4711 solver.cpp:404]     Test net output #1: loss = 2.38 (* 1 = 2.38 loss)
I0101 00:00:00.500000  4711 solver.cpp:228] Iteration 0, loss = 2.33
I0101 00:00:00.500001  4711 solver.cpp:244]     Train net output #0: loss = 2.33 (* 1 = 2.33 loss)
I0101 00:00:00.500002  4711 sgd_solver.cpp:106] Iteration 0, lr = 0.01
I0101 00:00:02.500000  4711 solver.cpp:228] Iteration 100 (50 iter/s, 2s/100 iters), loss = 0.2
I0101 00:00:02.500001  4711 solver.cpp:244]     Train net output #0: loss = nan (* 1 = nan loss)
I0101 00:00:02.500002  4711 sgd_solver.cpp:106] Iteration 100, lr = 9.9e-05
Iteration 1000, lr = 7I0101 00:00:03.00
I0101 00:00:04.000000  4711 solver.cpp:337] Iteration 200, Testing net (#0)
I0101 00:00:04.500000  4711 solver.cpp:404]     Test net output #0: accuracy = 0.97
I0101 00:00:04.500001  4711 solver.cpp:404]     Test net output #1: loss = 0.09 (* 1 = 0.09 loss)
I0101 00:00:05.500000  4711 solver.cpp:322] Optimization Done.
"""


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "caffe.log").write_text(CAFFE_LOG)
    return "caffe.log"


def table(path, delimiter=","):
    with open(path, newline="") as file:
        return list(csv.reader(file, delimiter=delimiter))


# The reader


def test_rows_are_those_of_caffes_script(log):
    found = read_log(log)
    head = ("NumIters", "Seconds", "LearningRate")
    assert [tuple(row) for row in found.test] == [(*head, "accuracy", "loss")] * 2
    assert [tuple(row.values()) for row in found.test] == [
        (0.0, 1.0, 9.9e-05, 0.1066, 2.38),
        (200.0, 6.0, 9.9e-05, 0.97, 0.09),
    ]
    assert [tuple(row) for row in found.train] == [(*head, "loss")] * 2
    assert list(found.train[0].values()) == pytest.approx([0, 2.000001, 0.01, 2.33], abs=1e-9)
    assert list(found.train[1].values())[:3] == pytest.approx([100, 4.000001, 0.01], abs=1e-9)
    assert math.isnan(found.train[1]["loss"])


def test_losses_and_rates(log):
    found = read_log(log)
    assert [(p.iteration, p.seconds, p.value) for p in found.losses] == [
        (0, 2.0, 2.33),
        (100, 4.0, 0.2),
    ]
    assert [(p.iteration, p.value) for p in found.rates] == [(0, 0.01), (100, 9.9e-05)]
    assert found.loss_outputs == {"loss"}


def test_several_values_and_nets(tmp_path):
    lines = [
        f"Test net output #{number}: {name} = {value}"
        for number, name, value in (
            (0, "iou", 0.1),
            (1, "iou", 0.2),
            (2, "loss", 3),
            (0, "iou", 0.5),
            (1, "iou", 0.6),
            (2, "loss", 4),
        )
    ]
    (tmp_path / "two.log").write_text("\n".join(["Iteration 5, Testing net (#0)", *lines]))
    rows = read_log(tmp_path / "two.log").test
    assert [list(row)[3:] for row in rows] == [["iou", "iou_1", "loss"]] * 2
    assert [list(row.values())[3:] for row in rows] == [[0.1, 0.2, 3], [0.5, 0.6, 4]]


def test_recorded_messages_without_dates():
    (path,) = golden.FOLDER.glob("solver_*.log.txt")
    found = read_log(path)
    assert [row["NumIters"] for row in found.train] == list(range(10))
    assert [p.iteration for p in found.losses] == list(range(11))
    assert found.rates[3].value == 0.05 and found.losses[-1].value == 1.22281
    assert all(math.isnan(row["Seconds"]) for row in found.train)


def test_a_leap_day_in_a_file_of_another_year(tmp_path):
    path = tmp_path / "leap.log"
    path.write_text(
        "I0228 23:59:59.000000 1 solver.cpp:1] Solving x\n"
        "I0229 00:00:01.000000 1 solver.cpp:2] Iteration 1, loss = 1\n"
        "I0301 00:00:01.000000 1 solver.cpp:2] Iteration 2, loss = 1\n"
    )
    when = time.mktime((2023, 5, 1, 0, 0, 0, 0, 0, -1))
    os.utime(path, (when, when))
    assert [seconds for seconds, _ in dated_lines(path)] == [0, 2, 86402]


def test_what_is_no_log(tmp_path):
    with pytest.raises(DataError, match="there is no such log"):
        read_log(tmp_path / "none.log")
    (tmp_path / "empty.log").write_bytes(b"\xff\x00")
    with pytest.raises(DataError, match=r"no line 'Iteration N, loss = \.\.\.'"):
        read_log(tmp_path / "empty.log")


# The commands


@pytest.fixture(scope="module")
def own_log(tmp_path_factory):
    """The log of a training by this package."""
    folder = tmp_path_factory.mktemp("trained")
    write_tiny(folder)
    result = caffe_spn(folder, "train", "--solver", "solver.prototxt", "--log", "run.log")
    assert result.returncode == 0, result.stderr
    return folder / "run.log"


def test_parse_log(own_log):
    folder = own_log.parent
    result = caffe_spn(folder, "parse_log", "run.log", ".", "--verbose")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "Wrote ./run.log.train\nWrote ./run.log.test\n"
    train, test = table(folder / "run.log.train"), table(folder / "run.log.test")
    assert train[0] == ["NumIters", "Seconds", "LearningRate", "loss"]
    assert [row[0] for row in train[1:]] == ["0.0", "2.0", "4.0", "6.0"]
    assert {row[2] for row in train[1:]} == {"0.05"}
    assert test[0] == ["NumIters", "Seconds", "LearningRate", "accuracy", "loss"]
    assert [row[0] for row in test[1:]] == ["4.0", "8.0"]
    seconds = [float(row[1]) for row in train[1:]]
    assert seconds == sorted(seconds) and seconds[0] >= 0


def test_parse_log_with_another_delimiter_and_without_tests(log, tmp_path, capsys):
    (tmp_path / log).write_text(CAFFE_LOG.replace("Test net output", "Nothing"))
    assert cli.main(["parse_log", log, ".", "-verbose", "--delimiter", ";"]) == 0
    assert "Not writing ./caffe.log.test; no lines to write" in capsys.readouterr().out
    assert table("caffe.log.train", ";")[1] == ["0.0", "2.000001", "0.01", "2.33"]
    assert not os.path.exists("caffe.log.test")


def test_parse_log_refuses(log, tmp_path):
    assert "the delimiter ',,' is not one" in error(
        tmp_path, "parse_log", log, ".", "--delimiter=,,"
    )
    assert "no/where" in error(tmp_path, "parse_log", log, "no/where")


def test_extract_seconds(log, tmp_path):
    result = caffe_spn(tmp_path, "extract_seconds", log, "seconds.txt")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert (tmp_path / "seconds.txt").read_text().split() == [
        "0.500000",
        "2.000000",
        "2.000002",
        "4.000000",
        "4.000002",
        "5.500000",
    ]


def test_extract_seconds_needs_dates(tmp_path):
    (tmp_path / "bare.log").write_text("Iteration 0, loss = 1\n")
    shown = error(tmp_path, "extract_seconds", "bare.log", "seconds.txt")
    assert shown.startswith("bare.log\n  no line of it has a time and an iteration\n  help: ")


def test_plot_training_log(own_log):
    folder = own_log.parent
    result = caffe_spn(folder, "plot_training_log", "6", "loss.png", "run.log")
    assert (result.returncode, result.stdout) == (0, "Train loss vs. Iters: loss.png\n")
    with Image.open(folder / "loss.png") as picture:
        assert picture.size == (800, 500)
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 10


@pytest.mark.parametrize(
    ("chart", "want"),
    [
        (0, [[(0, 0.1066), (200, 0.97)]]),
        (1, [[(1.0, 0.1066), (6.0, 0.97)]]),
        (2, [[(0, 2.38), (200, 0.09)]]),
        (3, [[(1.0, 2.38), (6.0, 0.09)]]),
        (4, [[(0, 0.01), (100, 9.9e-05)]]),
        (7, [[(2.0, 2.33), (4.0, 0.2)]]),
    ],
)
def test_charts(chart, want, log, monkeypatch):
    drawn = []
    monkeypatch.setattr(plot_training_log, "draw", lambda *arguments: drawn.append(arguments))
    assert cli.main(["plot_training_log", str(chart), "x.png", log, log]) == 0
    ((number, curves, picture),) = drawn
    assert (number, picture, list(curves)) == (chart, "x.png", ["caffe"])
    got = [
        [(p.seconds if chart % 2 else p.iteration, p.value) for p in points]
        for points in curves.values()
    ]
    for points, expected in zip(got, want, strict=True):
        assert [x for pair in points for x in pair] == pytest.approx(
            [x for pair in expected for x in pair], abs=1e-5
        )


def test_plot_training_log_refuses(log, tmp_path, capsys, monkeypatch):
    (tmp_path / "bare.log").write_text("Iteration 0, loss = 1\nIteration 1, loss = 1\n")
    assert cli.main(["plot_training_log", "8", "x.png", log]) == 2
    assert "'8' is none of 0 to 7" in capsys.readouterr().err
    for chart in ("0", "7"):
        assert cli.main(["plot_training_log", chart, "x.png", "bare.log"]) == 1
        assert f"nothing for chart {chart}" in capsys.readouterr().err
    assert cli.main(["plot_training_log", "6", "x.odd", log]) == 1
    assert capsys.readouterr().err.startswith("x.odd\n  Format 'odd' is not supported")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert cli.main(["plot_training_log", "6", "x.png", log]) == 1
    assert "pip install 'caffe_spn[plot]'" in capsys.readouterr().err
