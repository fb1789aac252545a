"""A stand-in for a C library: takes calls as ctypes would, writes down what it was given."""

from __future__ import annotations

import ctypes


class Function:
    """A function of the library; it converts its arguments to the declared types.

    Attributes
    ----------
    argtypes, restype
        As those of ctypes' functions. A call whose arguments do not fit raises what ctypes raises.
    """

    def __init__(self, library: Recorder, name: str):
        self.library, self.name = library, name
        self.argtypes: list | None = None
        self.restype = ctypes.c_int

    def __call__(self, *arguments):
        if self.argtypes is not None:
            # A C function pointer of the same signature does the checking and converting.
            called = ctypes.CFUNCTYPE(ctypes.c_int, *self.argtypes)(self._record)
            return called(*arguments)
        return self._record(*arguments)

    def _record(self, *arguments):
        # What pointers point to may be gone after the call.
        self.library.calls.append((self.name, tuple(map(_seen, arguments))))
        answer = self.library.answers.get(self.name, 0)
        return answer(*arguments) if callable(answer) else answer


def _seen(argument):
    """The number under a pointer to one, and everything else as it is."""
    under = getattr(argument, "contents", None) if argument else None
    return getattr(under, "value", argument)


class Recorder:
    """A library that has every function.

    Attributes
    ----------
    calls : list of (str, tuple)
        Names and arguments, in order; for a pointer to a number the number, addresses as integers.
    answers : dict
        What functions return, or a function that returns it; 0 where nothing is said.
    without : set of str
        Functions that the library does not have.
    """

    def __init__(self, **answers):
        self.calls: list[tuple] = []
        self.answers = answers
        self.without: set[str] = set()
        self._functions: dict[str, Function] = {}

    def __getattr__(self, name: str) -> Function:
        if name.startswith("_") or name in self.without:
            raise AttributeError(name)
        return self._functions.setdefault(name, Function(self, name))

    def names(self) -> list[str]:
        return [name for name, _ in self.calls]

    def last(self, name: str) -> tuple:
        """The arguments of the last call of a function."""
        return next(arguments for called, arguments in reversed(self.calls) if called == name)
