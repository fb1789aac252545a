"""The upgrade_* commands: Caffe's arguments, output and exit codes."""

import os
import re
import shutil

import numpy as np
import pytest

from caffe_spn.proto import binary, caffe_pb2, text
from caffe_spn.tools import main as cli
from tests import golden_cases as golden
from tests.tools.cli import caffe_spn

READERS = {".prototxt": text.read, ".binaryproto": binary.read}
TOOLS = {
    ("NetParameter", ".prototxt"): "upgrade_net_proto_text",
    ("NetParameter", ".binaryproto"): "upgrade_net_proto_binary",
    ("SolverParameter", ".prototxt"): "upgrade_solver_proto_text",
}


def lines(stderr):
    """Severity and words of each line of the log."""
    found = re.findall(r"^([IWE])\d{4} [\d:.]+ +\d+ (\w+\.cpp)\] (.*)$", stderr, re.MULTILINE)
    return [(severity, words) for severity, _, words in found]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("case", golden.cases("upgrade"), ids=golden.case_id)
def test_recorded(case, folder, capsys):
    old, *new = case["files"]
    end = os.path.splitext(old)[1]
    tool = TOOLS[case["message"], end]
    shutil.copy(golden.FOLDER / old, "old")
    code = cli.main([tool, "old", "new"])
    shown = capsys.readouterr().err
    if case["expect"] == "error":
        assert code == 1
        assert os.listdir() == ["old"]
        return
    assert code == (0 if case["complete"] else 1)
    message = getattr(caffe_pb2, case["message"])
    assert READERS[end]("new", message) == READERS[end](golden.FOLDER / new[0], message)
    last = lines(shown)[-1]
    assert last == ("I", f"Wrote upgraded {case['message']} {tool.split('_')[-1]} proto to new")


V0 = """input: "x" input_dim: 1 input_dim: 2 input_dim: 4 input_dim: 4
layers { layer { name: "c" type: "conv" num_output: 2 kernelsize: 3 } bottom: "x" top: "c" }
"""
NEW = """layer {
  name: "input"
  type: "Input"
  top: "x"
  input_param {
    shape {
      dim: 1
      dim: 2
      dim: 4
      dim: 4
    }
  }
}
layer {
  name: "c"
  type: "Convolution"
  bottom: "x"
  top: "c"
  convolution_param {
    num_output: 2
    kernel_size: 3
  }
}
"""


def test_text_as_a_command(folder):
    (folder / "old.prototxt").write_text(V0)
    result = caffe_spn(folder, "upgrade_net_proto_text", "old.prototxt", "new.prototxt")
    assert (result.returncode, result.stdout) == (0, "")
    assert lines(result.stderr) == [("I", "Wrote upgraded NetParameter text proto to new.prototxt")]
    assert (folder / "new.prototxt").read_text() == NEW
    again = caffe_spn(folder, "upgrade_net_proto_text", "new.prototxt", "new.prototxt")
    assert again.returncode == 0
    assert lines(again.stderr)[0] == (
        "E",
        "File already in latest proto format: new.prototxt",
    )
    assert (folder / "new.prototxt").read_text() == NEW


def test_binary_as_a_command(folder):
    name = "upgrade_binary_v1_weights"
    shutil.copy(golden.FOLDER / f"{name}.old.binaryproto", "old.caffemodel")
    result = caffe_spn(folder, "upgrade-net-proto-binary", "old.caffemodel", "new.caffemodel")
    assert result.returncode == 0, result.stderr
    want = binary.read(golden.FOLDER / f"{name}.new.binaryproto", caffe_pb2.NetParameter)
    assert binary.read("new.caffemodel", caffe_pb2.NetParameter) == want


def test_solver_as_a_command(folder):
    (folder / "solver.prototxt").write_text('net: "n" solver_type: ADAGRAD\n')
    result = caffe_spn(folder, "upgrade_solver_proto_text", "solver.prototxt", "solver.prototxt")
    assert result.returncode == 0, result.stderr
    assert (folder / "solver.prototxt").read_text() == 'net: "n"\ntype: "AdaGrad"\n'
    assert os.listdir() == ["solver.prototxt"]


def test_what_is_dropped_is_said(folder):
    (folder / "old").write_text('layers { layer { name: "t" type: "tanh" num_output: 2 } }')
    result = caffe_spn(folder, "upgrade_net_proto_text", "old", "new")
    assert result.returncode == 1
    assert lines(result.stderr) == [
        ("E", "Unknown parameter num_output for layer type tanh (layer 't')"),
        ("E", "Encountered error(s) while upgrading prototxt; see details above."),
        ("I", "Wrote upgraded NetParameter text proto to new"),
    ]
    for other, code in (("fuse", 0), ("check", 1)):
        shown = caffe_spn(folder, other, "old")
        assert shown.returncode == code
        assert "dropped: Unknown parameter num_output" in shown.stdout + shown.stderr


@pytest.mark.parametrize("tool", TOOLS.values())
def test_wrong_usage_and_unreadable_input(tool, folder, capsys):
    assert cli.main([tool, "only_one"]) == 1
    assert cli.main([tool]) == 1
    assert cli.main([tool, "--help"]) == 0
    assert "as Caffe's own tool has them" in capsys.readouterr().out
    (folder / "broken").write_bytes(b"layer { \xff")
    for name in ("missing", "broken"):
        assert cli.main([tool, name, "out"]) == 2
        found = lines(capsys.readouterr().err)[0]
        assert found[0] == "E"
        assert re.fullmatch(
            f"Failed to parse input (text|binary) file as (Net|Solver)Parameter: {name}", found[1]
        )
    assert os.listdir() == ["broken"]


def test_upgrade_that_fails_or_cannot_be_written(folder, capsys):
    (folder / "old").write_text('layers { type: RELU } layer { type: "ReLU" }')
    assert cli.main(["upgrade_net_proto_text", "old", "new"]) == 1
    assert "old\n  the net has both 'layer' and the old 'layers'" in capsys.readouterr().err
    (folder / "old").write_text(V0)
    assert cli.main(["upgrade_net_proto_text", "old", "nowhere/new"]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_result_loads_in_opencv(folder):
    dnn = pytest.importorskip("cv2").dnn
    if not hasattr(dnn, "readNetFromCaffe"):
        pytest.skip("OpenCV 5 reads no Caffe")
    (folder / "old.prototxt").write_text(V0)
    old = caffe_pb2.NetParameter()
    layer = old.layers.add().layer
    layer.name, layer.type = "c", "conv"
    layer.blobs.add(num=2, channels=2, height=3, width=3, data=[0.5] * 36)
    layer.blobs.add(num=1, channels=1, height=1, width=2, data=[1, 2])
    binary.write("old.caffemodel", old)
    assert cli.main(["upgrade_net_proto_text", "old.prototxt", "new.prototxt"]) == 0
    assert cli.main(["upgrade_net_proto_binary", "old.caffemodel", "new.caffemodel"]) == 0
    net = dnn.readNetFromCaffe("new.prototxt", "new.caffemodel")
    net.setInput(np.ones((1, 2, 4, 4), np.float32))
    np.testing.assert_allclose(net.forward()[0, :, 0, 0], [10, 11])
