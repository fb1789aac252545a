"""`python -m docs.layer_reference`: write docs/layers/*.md from the layers' docstrings."""

import sys
from pathlib import Path

from docs.layer_reference.check import problems
from docs.layer_reference.layers import described
from docs.layer_reference.pages import pages

FOLDER = Path(__file__).parent.parent / "layers"


def main() -> int:
    layers = described()
    FOLDER.mkdir(exist_ok=True)
    for name, content in pages(layers).items():
        (FOLDER / name).write_text(content, encoding="utf-8")
    found = [problem for layer in layers.values() for problem in problems(layer)]
    print(*found, sep="\n", end="\n" if found else "", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
