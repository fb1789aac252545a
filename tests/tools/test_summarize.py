"""caffe-spn summarize: the table, its colours, older generations."""

import pytest

from caffe_spn.proto import caffe_pb2, text
from caffe_spn.tools import main as cli
from caffe_spn.tools.summarize import aligned, rows
from tests.tools.cli import NET, caffe_spn

MORE = """
layer { name: "up" type: "Deconvolution" bottom: "conv" top: "up"
  param { name: "w" lr_mult: 0.1 } param { decay_mult: 0 }
  convolution_param { num_output: 4 group: 2 kernel_h: 3 kernel_w: 5 stride: 2 pad: 0 } }
layer { name: "pool" type: "Pooling" bottom: "up" top: "pool"
  pooling_param { kernel_size: 3 stride: 2 pad: 1 } }
layer { name: "all" type: "Pooling" bottom: "pool" top: "all"
  pooling_param { global_pooling: true } }
layer { name: "own" type: "Python" bottom: "all" bottom: "absent" top: "own" loss_weight: 0.5
  python_param { module: "layers" layer: "Own" } }
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(NET + MORE)
    return tmp_path


def test_table(folder):
    result = caffe_spn(folder, "summarize", "net.prototxt", "--max-width", "16")
    assert (result.returncode, result.stderr) == (0, "")
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["data", "DummyData", "->", "data,", "label"],
        ["conv", "Convolution", "data", "->", "conv", "3+1", "2"],
        ["relu", "ReLU", "conv", "->", "conv"],
        ["loss", "SoftmaxWithLoss", "conv,", "label", "->", "loss"],
        ["accuracy", "Accuracy", "conv,", "label", "->", "accuracy"],
        ["up", "Deconvolution", "(w", "x0.1,", "Dx0.0)", "conv", "->", "up", "3x5/2", "4/2"],
        ["pool", "Pooling", "up", "->", "pool", "3/2+1"],
        ["all", "Pooling", "pool", "->", "all", "global"],
        ["own", "layers.Own", "all,", "absent", "->", "0.5", "*", "own"],
    ]
    assert len({line.index("->") for line in result.stdout.splitlines()}) == 1


def test_colours(folder, capsys):
    assert cli.main(["summarize", "net.prototxt", "--color", "always"]) == 0
    lines = capsys.readouterr().out.splitlines()
    # A blob keeps its colour, one that nobody made is on red, an output underlined.
    assert "\033[94mconv\033[0m" in lines[1] and "\033[94mconv\033[0m" in lines[3]
    assert "\033[41mabsent\033[0m" in lines[-1]
    assert "0.5 * \033[1;4mown\033[0m" in lines[-1]
    assert cli.main(["summarize", "net.prototxt"]) == 0
    assert "\033" not in capsys.readouterr().out


def test_inputs_are_not_missing():
    old = 'input: "x" layer { name: "r" type: "ReLU" bottom: "x" top: "y" }'
    (row,) = rows(text.parse(old, caffe_pb2.NetParameter()))
    assert row[3] == "\033[0mx\033[0m"


def test_older_generations(folder, capsys):
    (folder / "old.prototxt").write_text('layers { name: "r" type: RELU bottom: "x" top: "y" }')
    assert cli.main(["summarize", "old.prototxt"]) == 0
    assert capsys.readouterr().out == "r ReLU  x -> y\n"


def test_long_cells_push_only_their_own_row():
    table = [["a", "long cell", "c"], ["a", "b", "c"]]
    assert aligned(table, 4) == "a long cell c\na b   c"
    assert aligned([], 4) == ""


def test_refuses(folder, capsys):
    assert cli.main(["summarize", "none.prototxt"]) == 1
    assert "none.prototxt" in capsys.readouterr().err
    assert cli.main(["summarize", "net.prototxt", "-w", "0"]) == 2
