"""caffe-spn demo, in short: what it prints and writes."""

import re
import subprocess
import sys

from caffe_spn.tools import main


def test_demo_trains_refines_and_tells_the_scores(tmp_path):
    command = [sys.executable, "-m", "caffe_spn.tools.main", "demo", "--iterations", "2"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out")], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^ +(\w+) +(coarse|refined) +(0\.\d+) +(0\.\d+)", done.stdout, re.M)
    assert [(name, stage) for name, stage, *_ in rows] == [
        ("coins_right", "coarse"),
        ("coins_right", "refined"),
        ("motorcycle_front", "coarse"),
        ("motorcycle_front", "refined"),
    ]
    for name, stage, iou, _ in rows:
        if stage == "coarse":
            assert 0.5 < float(iou) < 1, "a coarse map is good, but not perfect"
        assert (tmp_path / "out" / f"{name}.png").stat().st_size > 10_000
    # The command that it names does the same again.
    words = re.search(r"caffe-spn (refine .*)", done.stdout)[1].split()
    assert main.main(words) == 0
    assert (tmp_path / "out" / "refined" / "coins_right.png").exists()
