"""The headings of docs/gpu.md that quote messages are in the package's messages."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
TROUBLE = PAGE.partition("## When it does not work")[2].partition("\n## ")[0]
HEADINGS = re.findall(r"^### (.*)$", TROUBLE, re.MULTILINE)


@pytest.fixture(scope="module")
def messages():
    """All strings in the GPU path's sources; what is filled in stands as {}."""
    found = []
    for path in (ROOT / "cuda").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = [getattr(part, "value", "") for part in node.values]
                found.append("".join(p if isinstance(p, str) else "{}" for p in parts))
    return "\n".join(found)


def test_there_are_headings():
    assert len(HEADINGS) > 12


@pytest.mark.parametrize("heading", HEADINGS)
def test_message_exists(heading, messages):
    # "…" is what a message fills in.
    pattern = ".*".join(re.escape(part.strip()) for part in heading.split("…"))
    assert re.search(pattern, messages)
