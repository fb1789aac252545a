"""Read numpydoc: paragraphs, then sections that a line of dashes underlines.

A library would do the first half of this; the layers' docstrings also have sections of their own
("Bottoms", "Blobs") and name the message of their parameters in the title.
"""

from __future__ import annotations

import inspect
import re
from itertools import groupby
from textwrap import dedent
from typing import NamedTuple


class Entry(NamedTuple):
    """``names : type`` and the indented text below it."""

    names: tuple[str, ...]
    type: str
    text: str


class Docstring(NamedTuple):
    """A docstring taken apart.

    Attributes
    ----------
    summary : str
        The first paragraph, on one line.
    body : str
        What stands between it and the sections.
    sections : dict
        Title to text.
    """

    summary: str
    body: str
    sections: dict[str, str]


def read(text: str | None) -> Docstring:
    """Take a docstring apart."""
    lines = inspect.cleandoc(text or "").split("\n")
    starts = [i for i in range(len(lines) - 1) if re.fullmatch("-{3,}", lines[i + 1])]
    ends = [*starts, len(lines)][1:]
    sections = {
        lines[start]: "\n".join(lines[start + 2 : end]).strip("\n")
        for start, end in zip(starts, ends, strict=True)
    }
    head = "\n".join(lines[: starts[0]] if starts else lines)
    summary, _, body = head.strip().partition("\n\n")
    return Docstring(" ".join(summary.split()), body.strip("\n"), sections)


def entries(section: str) -> list[Entry]:
    """The entries of a section such as Parameters."""
    found: list[list[str]] = []
    for line in section.split("\n"):
        if line and not line.startswith(" "):
            found.append([line])
        elif found:
            found[-1].append(line)
    return [_entry(lines[0], lines[1:]) for lines in found]


def _entry(head: str, lines: list[str]) -> Entry:
    names, _, kind = head.partition(" : ")
    return Entry(tuple(names.split(", ")), kind.strip(), inspect.cleandoc("\n".join(["", *lines])))


def default(entry: Entry) -> str | None:
    """The value after "default" in an entry's type; None if there is no such word."""
    match = re.search(r'\bdefault ("[^"]*"|[^,;()]+)', entry.type)
    return match and match[1].strip()


def without_default(entry: Entry) -> str:
    """An entry's type without the statement of its default."""
    return re.sub(r'(^|, )default ("[^"]*"|[^,;()]+)', "", entry.type).lstrip(", ")


def markdown(text: str) -> str:
    """Paragraphs on one line each; indented blocks, with or without ``::``, between fences."""
    parts = []
    for indented, block in blocks(text):
        if indented:
            parts.append(f"```\n{block}\n```")
        else:
            paragraphs = (" ".join(paragraph.split()) for paragraph in block.split("\n\n"))
            parts += (re.sub(r"::$", ":", paragraph) for paragraph in paragraphs)
    return "\n\n".join(part for part in parts if part != ":")


def blocks(text: str) -> list[tuple[bool, str]]:
    """The text in pieces, each with whether it is indented (a formula, or code)."""
    lines = text.strip("\n").split("\n")
    pieces = []
    indented = False
    for line in lines:
        if line:  # a blank line belongs to what stands before it
            indented = line.startswith("    ")
        pieces.append((indented, line))
    return [
        (indented, dedent("\n".join(line for _, line in group)).strip("\n"))
        for indented, group in groupby(pieces, lambda piece: piece[0])
    ]
