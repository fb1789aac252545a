"""Progress: a bar on a terminal, Caffe's lines elsewhere."""

import sys

import pytest

from caffe_spn.tools.progress import progress, shown
from caffe_spn.training_log import init_log


def test_a_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert list(progress(iter("abc"), "image", total=3)) == ["a", "b", "c"]
    assert list(shown(iter("ab"), 2, 1, "x.cpp:1")) == ["a", "b"]
    bars = capsys.readouterr().err
    assert "3/3" in bars and "image/s" in bars
    assert "2/2" in bars and "Processed" not in bars


def test_no_bar_elsewhere(capsys):
    assert list(progress("abc", "image")) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("count", "lines"), [(0, []), (2, [2]), (4, [2, 4]), (5, [2, 4, 5])])
def test_caffes_lines_elsewhere(count, lines, capsys):
    init_log(0, sys.stderr)
    assert list(shown(range(count), count, 2, "x.cpp:1")) == list(range(count))
    got = [line.split("] ")[1] for line in capsys.readouterr().err.splitlines()]
    assert got == [f"Processed {n} files." for n in lines]
