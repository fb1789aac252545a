"""docs/tutorial.md: its files, commands and Python blocks run, in order, in a fresh folder."""

import re

from tests.docs.page_script import run_page

# The refinement network learns for two steps instead of 200: it must run, not be good.
SHORTER = (("--iterations 200", "--iterations 2"), ("mynet_iter_200", "mynet_iter_2"))


def test_tutorial_runs(tmp_path):
    shown = run_page("tutorial.md", tmp_path, *SHORTER)
    assert float(re.search(r"^accuracy ([\d.]+)$", shown, re.MULTILINE)[1]) > 0.9
    assert float(re.search(r"a square with probability ([\d.]+)", shown)[1]) > 0.5
    assert (tmp_path / "refined" / "coins_right_compare.png").exists()
