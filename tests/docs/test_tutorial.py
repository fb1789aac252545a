"""docs/tutorial.md: its files, commands and Python blocks run, in order, in a fresh folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"

# The refinement network learns for two steps instead of 200: it must run, not be good.
SHORTER = (("--iterations 200", "--iterations 2"), ("mynet_iter_200", "mynet_iter_2"))


def blocks() -> list[tuple[str, str]]:
    """The fenced blocks, each with the word after its fence."""
    page = PAGE.read_text(encoding="utf-8")
    for old, new in SHORTER:
        assert old in page
        page = page.replace(old, new)
    return re.findall(r"^```(\w*)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)


def as_script() -> str:
    """The whole page as one shell script; Python blocks of a part share their names."""
    lines = ["set -e"]
    python: list[str] = []
    for kind, content in blocks():
        if kind == "python" and not content.startswith("# "):
            python.append(content)
            continue
        lines.append(_python_step(python))
        if kind == "sh":
            lines.append(content)
        else:
            name = content.split("\n")[0].removeprefix("# ")
            lines.append(f"cat > {name} <<'END OF FILE'\n{content}END OF FILE")
            if kind == "python":
                lines.append(f"python {name}")
    return "\n".join([*lines, _python_step(python)])


def _python_step(content: list[str]) -> str:
    step = "python - <<'END OF PYTHON'\n" + "\n".join(content) + "END OF PYTHON" if content else ""
    content.clear()
    return step


@pytest.mark.slow
def test_tutorial_runs(tmp_path):
    environment = dict(os.environ, PYTHONPATH=str(tmp_path))
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-c", as_script()], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    accuracy = float(re.search(r"accuracy ([\d.]+)\n", done.stdout)[1])
    assert accuracy > 0.9
    assert float(re.search(r"a square with probability ([\d.]+)", done.stdout)[1]) > 0.5
    assert (tmp_path / "refined" / "coins_right_compare.png").exists()
