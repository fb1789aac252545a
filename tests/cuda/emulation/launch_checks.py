"""What the emulated driver refuses to launch: wrong grids, and arguments that do not fit."""

from __future__ import annotations

import numpy as np

from caffe_spn.cuda.device.driver import DeviceInfo
from tests.cuda.emulation.build import EmulationError
from tests.cuda.emulation.memory import Memory

MOST_THREADS = 1024
MOST_BLOCKS = (2**31 - 1, 65535, 65535)


def check_shape(device: DeviceInfo, max_threads: int, grid, block, shared: int, where: str) -> None:
    """Refuse what a device would: of a kernel that runs on `max_threads` in a block."""
    threads = block[0] * block[1] * block[2]
    most = min(MOST_THREADS, max_threads)
    if min(*grid, *block) < 1:
        raise EmulationError(f"grid {grid} and block {block} must be positive", where)
    if threads > most:
        raise EmulationError(f"{threads} threads in a block; the most are {most}", where)
    if block[2] > 64:
        raise EmulationError(f"block {block}; the third size is at most 64", where)
    if any(g > most for g, most in zip(grid, MOST_BLOCKS, strict=True)):
        raise EmulationError(f"grid {grid}; the most are {MOST_BLOCKS}", where)
    if shared > device.shared_memory:
        raise EmulationError(
            f"{shared} bytes of shared memory; {device.name} has {device.shared_memory}",
            where,
        )


def check_arguments(
    memory: Memory, signature: list[str], arguments: list[np.generic], where: str
) -> set[int]:
    """Compare with the kernel's parameters; returns the arrays that pointers lie in."""
    if len(arguments) != len(signature):
        raise EmulationError(f"{len(arguments)} arguments for {len(signature)} parameters", where)
    touched = set()
    for i, (argument, kind) in enumerate(zip(arguments, signature, strict=True)):
        if not isinstance(argument, np.generic):
            raise EmulationError(f"argument {i} is no NumPy scalar: {argument!r}", where)
        given = f"{_KINDS.get(argument.dtype.kind, 's')}{argument.nbytes}"
        wanted = kind.replace("p", "u")
        if given != wanted:
            raise EmulationError(
                f"argument {i} is a {argument.dtype}; the parameter is {_described(kind)}",
                where,
            )
        if kind[0] == "p" and argument:
            try:
                touched.add(memory.holding(int(argument)))
            except EmulationError as error:
                raise EmulationError(f"argument {i}: {error.message}", where) from None
    return touched


# NumPy's kinds as signatures write them.
_KINDS = {"b": "u", "i": "i", "u": "u", "f": "f", "V": "s"}


def _described(kind: str) -> str:
    words = {"p": "a pointer", "i": "a signed integer", "u": "an unsigned integer"}
    words |= {"f": "a floating-point number", "s": "a structure"}
    return f"{words[kind[0]]} of {kind[1:]} bytes"
