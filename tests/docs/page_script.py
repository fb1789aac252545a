"""Run the code of a Markdown page, in order, in a folder: files, shell commands, Python."""

import os
import re
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def run_page(name: str, folder: Path, *replacements: tuple[str, str]) -> str:
    """Run the fenced blocks of docs/NAME; the standard output.

    A block that begins with ``# FILE`` is written to that file, and run if it is Python. Other
    ``sh`` and ``python`` blocks are run; Python blocks that follow each other without a command in
    between share their names.

    Parameters
    ----------
    name : str
    folder : Path
        Where to.
    *replacements : (str, str)
        What to change in the page first, such as a number of iterations.
    """
    page = (DOCS / name).read_text(encoding="utf-8")
    for old, new in replacements:
        assert old in page, old
        page = page.replace(old, new)
    environment = dict(os.environ, PYTHONPATH=str(folder))
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-c", _script(page)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def _script(page: str) -> str:
    lines = ["set -e -o pipefail"]
    python: list[str] = []
    for kind, content in re.findall(r"^```(\w*)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        is_file = re.match(r"# (\S+\.\w+)\n", content)
        if kind == "python" and not is_file:
            python.append(content)
            continue
        lines += _python_step(python)
        if is_file:
            lines.append(f"cat > {is_file[1]} <<'END OF FILE'\n{content}END OF FILE")
            if kind == "python":
                lines.append(f"python {is_file[1]}")
        elif kind == "sh":
            lines.append(content)
    return "\n".join(lines + _python_step(python))


def _python_step(contents: list[str]) -> list[str]:
    if not contents:
        return []
    step = "python - <<'END OF PYTHON'\n" + "\n".join(contents) + "END OF PYTHON"
    contents.clear()
    return [step]
