"""caffe-spn test and time: Caffe's lines, and the numbers in them."""

import re

import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn.memory import human, memory_need
from caffe_spn.tools import main as cli
from caffe_spn.tools.layer_times import LayerTimes
from tests.tools.cli import caffe_spn, error, write_tiny

# What goes in is the same for every batch, so that scores can be compared.
NET = """
name: "steady"
layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {
  shape { dim: 2 dim: 3 dim: 4 dim: 5 } data_filler { type: "constant" value: 0.5 }
  shape { dim: 2 dim: 1 dim: 4 dim: 5 } data_filler { type: "constant" value: 1 } } }
layer { name: "score" type: "Convolution" bottom: "data" top: "score"
  convolution_param { num_output: 2 kernel_size: 1 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss"
  loss_weight: 2 }
layer { name: "accuracy" type: "Accuracy" bottom: "score" bottom: "label" top: "accuracy"
  include { stage: "scored" } }
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "net.prototxt").write_text(NET)
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    net.params["score"][1].data[...] = [0, 1]
    net.save(str(tmp_path / "net.caffemodel"))
    return tmp_path


def lines(text):
    """What stands behind glog's prefix."""
    return [re.sub(r"^[IWE]\d{4} .*?\] ", "", line) for line in text.splitlines()]


def test_test_scores_each_batch_and_the_mean(folder):
    arguments = ("-model=net.prototxt", "-weights=net.caffemodel", "-iterations=2")
    result = caffe_spn(folder, "test", *arguments, "-stage", "scored")
    assert result.returncode == 0, result.stderr
    loss = np.log1p(np.exp(-1))
    assert lines(result.stderr) == [
        "Use CPU.",
        "Running for 2 iterations.",
        "Batch 0, accuracy = 1",
        f"Batch 0, loss = {loss:g}",
        "Batch 1, accuracy = 1",
        f"Batch 1, loss = {loss:g}",
        f"Loss: {2 * loss:g}",
        "accuracy = 1",
        f"loss = {loss:g} (* 2 = {2 * loss:g} loss)",
    ]


def test_test_refuses_bad_weights(folder):
    (folder / "bad.caffemodel").write_bytes(b"no weights")
    arguments = ("test", "--model", "net.prototxt", "--weights", "bad.caffemodel")
    assert "\nbad.caffemodel\n  " in error(folder, *arguments)
    assert "usage:" in error(folder, "test", "--model", "net.prototxt", code=2)


def test_weights_of_another_net_are_refused(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    (folder / "renamed.prototxt").write_text(NET.replace('name: "score"', 'name: "scores"'))
    arguments = ["test", "--weights", "net.caffemodel", "--iterations", "1", "--model"]
    assert cli.main([*arguments, "renamed.prototxt"]) == 1
    shown = capsys.readouterr().err
    assert "net.caffemodel\n  has weights for none of the net's layers" in shown
    assert "is 'score' what the net calls 'scores'?" in shown
    (folder / "more.prototxt").write_text(
        NET + 'layer { name: "more" type: "Scale" bottom: "data" top: "more" }'
    )
    assert cli.main([*arguments, "more.prototxt"]) == 0
    assert "warning: no weights for more in net.caffemodel" in capsys.readouterr().err


def test_time_says_what_caffe_says_and_a_table(folder):
    result = caffe_spn(folder, "time", "--model", "net.prototxt", "--iterations", 3)
    assert result.returncode == 0, result.stderr
    said = lines(result.stderr)
    assert said[:2] == ["Use CPU.", "Performing Forward"]
    assert re.fullmatch(r"Initial loss: [\d.e-]+", said[2])
    begin = ["Performing Backward", "*** Benchmark begins ***", "Testing for 3 iterations."]
    assert said[3:6] == begin
    assert sum("forward-backward time" in line for line in said) == 3
    assert any(re.fullmatch(r"     score\tforward: [\d.e-]+ ms\.", line) for line in said)
    assert any(re.fullmatch(r"      loss\tbackward: [\d.e-]+ ms\.", line) for line in said)
    assert any(re.fullmatch(r"Average Forward pass: [\d.e-]+ ms\.", line) for line in said)
    table = result.stdout.splitlines()
    assert table[0].split()[:2] == ["layer", "type"]
    times = [float(line.split()[2]) + float(line.split()[3]) for line in table[1:4]]
    assert times == sorted(times, reverse=True)
    assert table[-1].startswith("memory of the blobs: ")


def test_time_of_a_deploy_net_has_no_backward(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(
        "layer { name: 'x' type: 'Input' top: 'x' input_param { shape { dim: 9 } } }"
        "layer { name: 'y' type: 'AbsVal' bottom: 'x' top: 'y' }"
    )
    assert cli.main(["time", "--model", "net.prototxt", "--phase", "TEST"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert {row[3] for row in rows[1:3]} == {"0.000"}


def test_the_first_pass_is_not_measured(folder, monkeypatch):
    from caffe_spn.tools import layer_times

    clock = iter(range(10_000))
    monkeypatch.setattr(layer_times.time, "perf_counter", lambda: next(clock))
    times = LayerTimes(caffe.Net(str(folder / "net.prototxt"), caffe.TRAIN))
    times.measure(4)
    np.testing.assert_array_equal(times.forward, 4)
    needed = np.array(times.net.layer_need_backward)
    assert needed.any()
    np.testing.assert_array_equal(times.backward, 4 * needed)


# Memory


def test_memory_counts_shared_blobs_once(tmp_path):
    write_tiny(tmp_path)
    need = memory_need(caffe.Net(str(tmp_path / "net.prototxt"), caffe.TRAIN))
    conv = 4 * 2 * 6 * 8
    assert need.data == 4 * (4 * 3 * 6 * 8 + 4 * 6 * 8 + conv + 1)
    assert need.diff == 4 * (conv + 1)
    assert need.params == need.param_diffs == 4 * (2 * 3 * 9 + 2)
    assert need.backward == need.data + need.diff + 2 * need.params


def test_memory_estimate_is_what_blobs_take(tmp_path):
    write_tiny(tmp_path)
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    need = memory_need(net)
    net.forward()
    tops = {id(blob._data): blob._data.nbytes for blob in net._blobs}
    assert sum(tops.values()) == need.data


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (123456, "123 kB"), (2.5e13, "25000 GB")],
)
def test_human(count, text):
    assert human(count) == text
