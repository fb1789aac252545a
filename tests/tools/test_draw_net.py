"""caffe-spn draw_net: from a prototxt to a file, with and without Graphviz."""

import shutil

import pytest

from caffe_spn.tools import main as cli
from tests.tools.cli import NET, caffe_spn


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "net.prototxt").write_text(NET)
    return tmp_path


def test_writes_the_graph(folder):
    result = caffe_spn(folder, "draw_net", "net.prototxt", "net.gv", "--rankdir", "TB")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "Drawing net to net.gv\n"
    graph = (folder / "net.gv").read_text()
    assert graph.startswith("digraph tiny {\nrankdir=TB;")
    assert '"accuracy (Accuracy)" -> "accuracy"' in graph


def test_options(folder, monkeypatch):
    monkeypatch.chdir(folder)
    command = ["draw_net", "net.prototxt", "net.gv", "-phase", "train", "--display_lrm"]
    assert cli.main(command) == 0
    graph = (folder / "net.gv").read_text()
    assert "Accuracy" not in graph and "rankdir=LR" in graph
    assert r"kernel size: 3\nstride: 1\npad: 1\nlr mult: 1.0, 1.0" in graph


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_makes_a_picture(folder):
    assert caffe_spn(folder, "draw_net", "net.prototxt", "net.png").returncode == 0
    assert (folder / "net.png").read_bytes().startswith(b"\x89PNG")


def test_refuses(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", str(folder))
    assert cli.main(["draw_net", "net.prototxt", "net.png"]) == 1
    assert "Graphviz cannot be run" in capsys.readouterr().err
    assert not (folder / "net.png").exists()
    assert cli.main(["draw_net", "none.prototxt", "net.gv"]) == 1
    assert "none.prototxt" in capsys.readouterr().err
    assert cli.main(["draw_net", "net.prototxt", "net.gv", "--phase", "both"]) == 2
