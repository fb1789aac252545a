"""examples/dream: a picture climbs the gradient of a layer in the middle of a network."""

import re
from pathlib import Path

import pytest
from PIL import Image

from tests.tools.cli import caffe_spn

SCRIPT = Path(__file__).parents[2] / "examples" / "dream" / "dream.py"


def gains(folder, *options):
    """By how much each channel sees more than before."""
    small = ("--side", "64", "--octaves", "2", "--output", "dream.png")
    result = caffe_spn(folder, "run", SCRIPT, *small, *options)
    assert result.returncode == 0, result.stderr
    found = re.findall(r"channel \d: ([\d.]+) -> ([\d.]+)", result.stdout)
    return [float(after) / float(before) for before, after in found]


def test_a_dream_of_everything_has_more_of_everything(tmp_path):
    found = gains(tmp_path)
    assert len(found) == 8 and min(found) > 1.3
    assert Image.open(tmp_path / "dream.png").size == (64, 64)


def test_a_dream_of_one_orientation_has_most_of_that(tmp_path):
    found = gains(tmp_path, "--channel", "2")
    assert max(found) == found[2] > 1.8 and found[6] < 1.5


@pytest.mark.parametrize("guide", ["chelsea"])
def test_a_dream_of_another_picture(tmp_path, guide):
    assert min(gains(tmp_path, "--image", "coffee", "--guide", guide, "--iterations", "5")) > 1.2
