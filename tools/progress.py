"""A progress bar for commands that take long, where somebody watches."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TypeVar

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

    return tqdm(items, unit=unit, total=total, leave=False, dynamic_ncols=True)
