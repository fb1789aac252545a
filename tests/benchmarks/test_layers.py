"""The layers that are timed against PyTorch compute what PyTorch computes."""

import pytest

from benchmarks import layers

torch = pytest.importorskip("torch")
pytest.importorskip("numba")


@pytest.mark.parametrize("case", layers.CASES, ids=lambda case: f"{case.what}-{case.shape}")
def test_both_compute_the_same(case):
    layers.pair(case, torch, small=True)


def test_a_difference_is_found():
    ours, theirs = layers.pair(layers.CASES[0], torch, small=True)
    theirs.y = 2 * theirs.y
    with pytest.raises(AssertionError):
        layers.check(ours, theirs)


def test_the_table_has_a_line_for_each_pass(monkeypatch, capsys):
    monkeypatch.setattr(layers, "CASES", layers.CASES[:1])
    threads = str(torch.get_num_threads())
    layers.main(["--tiny", "--repeats", "1", "--threads", threads])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("wall-clock time")
    assert ["forward" in lines[1], "backward" in lines[2]] == [True, True]
