"""caffe-spn fuse and expand: from one form of a network to the other, and back."""

import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn.proto import caffe_pb2, text
from caffe_spn.tools import main as cli
from tests.tools.cli import caffe_spn

NET = """name: "spn"
layer {
  name: "x"
  type: "Input"
  top: "x"
  input_param { shape { dim: 1 dim: 2 dim: 5 dim: 7 } }
}
layer {
  name: "g"
  type: "Input"
  top: "g"
  input_param { shape { dim: 1 dim: 24 dim: 5 dim: 7 } }
}
layer {
  name: "h"
  type: "SpatialPropagation"
  bottom: "x"
  bottom: "g"
  top: "h"
  spatial_propagation_param { units: 2 }
}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fused.prototxt").write_text(NET)
    return tmp_path


def read(path):
    return text.read(str(path), caffe_pb2.NetParameter)


def test_there_and_back(folder):
    there = caffe_spn(folder, "expand", "fused.prototxt", "spelled.prototxt")
    assert there.returncode == 0, there.stderr
    assert "1 SpatialPropagation -> " in there.stderr
    assert "8 GateRecurrent2dnoind" in there.stderr
    back = caffe_spn(folder, "fuse", "spelled.prototxt")
    assert back.returncode == 0, back.stderr
    assert text.parse(back.stdout, caffe_pb2.NetParameter()) == read("fused.prototxt")


def test_both_forms_compute_the_same(folder):
    assert cli.main(["expand", "fused.prototxt", "spelled.prototxt"]) == 0
    rng = np.random.default_rng(0)
    inputs = {"x": rng.random((1, 2, 5, 7)), "g": rng.standard_normal((1, 24, 5, 7))}
    results = [
        caffe.Net(f"{form}.prototxt", caffe.TEST).forward(**inputs)["h"]
        for form in ("fused", "spelled")
    ]
    np.testing.assert_allclose(*results, atol=1e-6)


def test_a_file_can_be_rewritten_in_place(folder, capsys):
    assert cli.main(["expand", "fused.prototxt", "fused.prototxt"]) == 0
    assert cli.main(["fuse", "fused.prototxt", "fused.prototxt"]) == 0
    assert [layer.type for layer in read("fused.prototxt").layer][-1] == "SpatialPropagation"
    assert [path.name for path in folder.iterdir()] == ["fused.prototxt"]


def test_nothing_to_change(folder, capsys):
    assert cli.main(["fuse", "fused.prototxt"]) == 0
    shown = capsys.readouterr()
    assert shown.err == "nothing to change\n"
    assert text.parse(shown.out, caffe_pb2.NetParameter()) == read("fused.prototxt")


def test_what_was_not_fused_is_named(folder, capsys):
    assert cli.main(["expand", "fused.prototxt", "spelled.prototxt"]) == 0
    spelled = (folder / "spelled.prototxt").read_text()
    reader = 'layer { name: "spy" type: "AbsVal" bottom: "h_u1_lr" top: "spied" }'
    (folder / "spelled.prototxt").write_text(spelled + reader)
    capsys.readouterr()
    assert cli.main(["fuse", "spelled.prototxt", "out.prototxt"]) == 0
    assert "not fused: layer 'spy' reads the inner blob 'h_u1_lr'" in capsys.readouterr().err


def test_errors_name_the_file(folder, capsys):
    assert cli.main(["fuse", "none.prototxt"]) == 1
    assert "none.prototxt" in capsys.readouterr().err
    (folder / "fused.prototxt").write_text(NET.replace("units: 2", "units: 0"))
    assert cli.main(["expand", "fused.prototxt"]) == 1
    assert capsys.readouterr().err.startswith("fused.prototxt: layer 'h' (SpatialPropagation)\n")
    (folder / "fused.prototxt").write_text(NET)
    assert cli.main(["expand", "fused.prototxt", "no/where.prototxt"]) == 1
    assert "No such file or directory" in capsys.readouterr().err
