"""How many blobs a layer takes and makes, and what they are called."""

from __future__ import annotations

from collections.abc import Sequence


class Roles:
    """The bottoms or the tops of a layer type.

    Parameters
    ----------
    names : sequence of str
        A name stands for one blob; ``name?`` may be missing; ``name*`` stands for any number
        and ``name+`` for at least one. The last two come last.
    """

    def __init__(self, names: Sequence[str]):
        self.names = tuple(n.rstrip("?*+") for n in names)
        variadic = bool(names) and names[-1][-1] in "*+"
        self.minimum = sum(n[-1] not in "?*" for n in names)
        self.maximum = None if variadic else len(names)

    def describe(self) -> str:
        if self.maximum is None:
            count = f"at least {self.minimum}"
        elif self.minimum == self.maximum:
            count = str(self.minimum)
        else:
            count = f"{self.minimum} to {self.maximum}"
        return f"{count} ({', '.join(self.names)})" if self.names else count

    def accepts(self, count: int) -> bool:
        return count >= self.minimum and (self.maximum is None or count <= self.maximum)

    def name(self, index: int) -> str:
        if not self.names:
            return ""
        return self.names[min(index, len(self.names) - 1)]
