"""The errors of the package: one family, each with a place, a finding and a remedy.

Every message reads the same way::

    net.prototxt:41: layer 'gate1' (GateRecurrent2dnoind)
      bottom 2 (g2) is (1, 32, 64, 63); it must have the shape of bottom 0 (x), (1, 32, 64, 64)
      help: crop 'g2', or look at the pooling above it (Caffe rounds up)
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CaffeSpnError(RuntimeError):
    """Base of all errors that the package raises on purpose.

    It is a RuntimeError because pycaffe's own errors are, which scripts catch.

    Parameters
    ----------
    message : str
        What was found and what was expected, with the numbers.
    where : str, optional
        The place: ``file:line:column``, a file, or ``layer 'name' (Type)``.
    help : str, optional
        What the user can do about it.
    """

    def __init__(self, message: str, where: str | None = None, help: str | None = None):
        super().__init__(message)
        self.message = message
        self.where = where
        self.help = help

    def __str__(self) -> str:
        if self.where is None and self.help is None:
            return self.message
        body = "\n".join("  " + line for line in self.message.splitlines())
        text = f"{self.where}\n{body}" if self.where else self.message
        return f"{text}\n  help: {self.help}" if self.help else text


class PrototxtError(CaffeSpnError, ValueError):
    """A network or solver definition that cannot be read or makes no sense."""


class ShapeError(CaffeSpnError, ValueError):
    """Blobs whose shapes do not fit together."""


class WeightsError(CaffeSpnError, ValueError):
    """A weights or solver-state file that cannot be read, written or applied."""


class DataError(CaffeSpnError, ValueError):
    """Training or input data that is missing, unreadable or inconsistent."""


class DeviceError(CaffeSpnError):
    """A device that was asked for and is not there, or that failed."""


class TrainingError(CaffeSpnError, ArithmeticError):
    """A training run that cannot go on, such as a loss that is not a number."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like `name`, or None when none is close."""
    known = list(known)
    by_lower = {k.lower(): k for k in known}
    if name.lower() in by_lower:
        return by_lower[name.lower()]
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return found[0] if found else None
