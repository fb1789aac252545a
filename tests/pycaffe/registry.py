"""How the checks of the surface are registered."""

from __future__ import annotations

from collections.abc import Callable


def checks_of(owner: str, checks: dict[str, Callable]) -> Callable:
    """A decorator that registers a check under one or more names of an owner.

    The check is called with a `Lab`.
    """

    def check(*names: str) -> Callable:
        def register(function: Callable) -> Callable:
            for name in names:
                assert f"{owner}.{name}" not in checks
                checks[f"{owner}.{name}"] = function
            return function

        return register

    return check
