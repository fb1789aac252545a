from pathlib import Path

import pytest

from tests.tools.cli import caffe_spn

SCRIPT = Path(__file__).parents[2] / "examples" / "char_lstm.py"


def test_it_learns_to_spell(tmp_path):
    pytest.importorskip("h5py")
    result = caffe_spn(tmp_path, "run", SCRIPT)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [line.split(":")[0] for line in lines[:-1]] == ["iteration 50", "iteration 100"]
    assert float(lines[-2].split()[-1]) < 0.1
    assert lines[-1] == "the quick brown fox jumps over the lazy dog."
