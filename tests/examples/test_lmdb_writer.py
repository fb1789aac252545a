"""examples/lmdb_writer.py, which says `import caffe`, on scikit-image's pictures."""

import re
from pathlib import Path

import pytest
from skimage import data
from skimage.io import imsave

from caffe_spn.data.db import open_db
from tests.tools.cli import caffe_spn

pytest.importorskip("lmdb")

SCRIPT = Path(__file__).parents[2] / "examples" / "lmdb_writer.py"


def test_it_writes_real_pictures_and_learns_them(tmp_path):
    names = ("astronaut", "coffee", "chelsea")
    for name in names:
        imsave(tmp_path / f"{name}.png", getattr(data, name)()[:300, :300])
    lines = [f"{name}.png {label}" for label, name in enumerate(names)]
    (tmp_path / "list.txt").write_text("\n".join(lines))

    result = caffe_spn(tmp_path, "run", SCRIPT, "list.txt", "db", "--size", "32", "--train", "12")

    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[:3] == [f"{n:08d}: label {n}, (3, 32, 32)" for n in range(3)]
    losses = [float(re.fullmatch(r"iteration \d+: loss (\S+)", line)[1]) for line in lines[3:]]
    assert len(losses) == 12
    assert losses[-1] < 0.5 * losses[0]
    assert len(open_db(tmp_path / "db", "LMDB")) == 3
