"""The shipped networks stand the check, with or without their data.

Training and test networks are checked through their solvers.
"""

from pathlib import Path

import pytest

import caffe_spn.prototxt
from caffe_spn.tools import main as cli

FOLDER = Path(caffe_spn.prototxt.__file__).parent
FILES = sorted([*FOLDER.glob("*/solver.prototxt"), *FOLDER.glob("*/deploy.prototxt")])


def test_there_are_some():
    assert len(FILES) >= 4


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_check_finds_no_problem(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = cli.main(["check", "--quiet", str(path)])
    out = capsys.readouterr().out
    assert code == 0, out
    assert "no problem" in out
