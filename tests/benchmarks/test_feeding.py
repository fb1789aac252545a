"""The benchmark of the Data layer runs, at a size that takes a moment."""

import re

import pytest

from benchmarks import feeding

pytest.importorskip("lmdb")


def test_it_prints_the_share_of_waiting(capsys):
    feeding.main("--networks small --batch 2 --crop 16 --steps 2 --images 8".split())
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"256x256 JPEG, crop 16: \d+ images/s alone", lines[0])
    assert re.search(
        r"small, batch 2: a step \d+ ms, of these .* \(\d+\.\d%\) in the Data", lines[1]
    )


@pytest.mark.parametrize("network", ["caffenet", "resnet18"])
def test_the_networks_have_the_published_number_of_weights(network, tmp_path):
    solver = feeding.make_solver(network, feeding.no_reading, tmp_path, 1, 227)
    weights = {"caffenet": 60_965_224, "resnet18": 11_689_512}[network]
    # The statistics of BatchNorm are blobs too, but are not learned.
    learned = sum(
        blob.count
        for layer in solver.net.layers
        if layer.type != "BatchNorm"
        for blob in layer.blobs
    )
    assert learned == weights
