"""How far a long command has come: a bar on a terminal, Caffe's lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from caffe_spn.training_log import info

Item = TypeVar("Item")


def progress(items: Iterable[Item], unit: str, total: int | None = None) -> Iterable[Item]:
    """The items, with a progress bar on stderr if that is a terminal.

    Parameters
    ----------
    items : iterable
    unit : str
        What an item is, such as "image".
    total : int, optional
        How many there are, if `items` has no length.
    """
    if not sys.stderr.isatty():
        return items
    # tqdm costs 50 ms to import.
    from tqdm import tqdm

    return tqdm(items, unit=unit, total=total, dynamic_ncols=True)


def shown(items: Iterable[Item], total: int | None, every: int, source: str) -> Iterator[Item]:
    """Pass files on with a progress bar; where stderr is no terminal, with Caffe's lines.

    Parameters
    ----------
    items : iterable
    total : int or None
        How many there will be.
    every : int
        Write a line after so many, and at the end.
    source : str
        Where Caffe says it, such as ``convert_imageset.cpp:147``.
    """
    if sys.stderr.isatty():
        yield from progress(items, "file", total)
        return
    count = 0
    for count, item in enumerate(items, 1):
        yield item
        if count % every == 0:
            info(f"Processed {count} files.", source)
    if count % every:
        info(f"Processed {count} files.", source)
