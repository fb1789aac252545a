"""The benchmark of the Data layer runs, at a size that takes a moment."""

import re

import pytest

from benchmarks import feeding

pytest.importorskip("lmdb")


def test_it_prints_the_share_of_waiting(capsys):
    feeding.main("--networks small --batch 2 --crop 16 --steps 2 --images 8".split())
    lines = capsys.readouterr().out.splitlines()
    assert re.match(r"256x256 JPEG, crop 16: \d+ images/s alone, \S+ ms of processor", lines[0])
    assert re.search(
        r"small, batch 2: a step \d+ ms, of these .* \(\d+\.\d%\) in the Data", lines[1]
    )


def test_resnet18_has_the_published_number_of_weights(tmp_path):
    feeding.write_database(tmp_path / "db", 1)
    solver = feeding.make_solver("resnet18", tmp_path / "db", 1, 64)
    # The statistics of BatchNorm are blobs too, but are not learned.
    learned = [layer.blobs for layer in solver.net.layers if layer.type != "BatchNorm"]
    assert sum(blob.count for blobs in learned for blob in blobs) == 11_689_512
    solver.net.close()
