"""What the recurrence's launchers share: which variant of a kernel is compiled for which maps.

A line of a map (a column or a row) is scanned by the threads of one block, each of which keeps
`elements` neighbours of it in registers and loads `steps` lines at a time. Short lines need one
warp and no barrier; the longest are kept in memory.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.runtime import runtime
from caffe_spn.errors import ShapeError

WARP = 32


class Variant(NamedTuple):
    """How a kernel is compiled.

    Attributes
    ----------
    longest : int
        The longest line that it takes.
    elements, steps : int
        Registers hold `elements` of each of `steps` lines.
    threads : int
        The most of a block.
    """

    longest: int
    elements: int
    steps: int
    threads: int

    @property
    def options(self) -> tuple[str, ...]:
        if not self.elements:
            return ("-DLONG_LINES", f"-DTHREADS={self.threads}")
        return (
            f"-DELEMENTS={self.elements}",
            f"-DSTEPS={self.steps}",
            f"-DTHREADS={self.threads}",
        )

    def block(self, longest: int) -> int:
        """Threads for lines of at most `longest` elements."""
        if not self.elements:
            return min(self.threads, -(-longest // WARP) * WARP)
        return -(-longest // (WARP * self.elements)) * WARP

    def line_floats(self, longest: int, gates: int) -> int:
        """Floats of work space that the backward pass of a block needs."""
        return 0 if self.elements else 2 * gates * longest


# 8 columns at a time are the 32 bytes that memory moves at least; 4 where registers are short.
ONE_WARP = (Variant(32, 1, 8, 32), Variant(64, 2, 8, 32), Variant(128, 4, 4, 32))
SEVERAL_WARPS = (Variant(1024, 4, 4, 256), Variant(2048, 4, 2, 512))
IN_MEMORY = Variant(2**31, 0, 0, 1024)


def choose(H: int, W: int, variants: tuple[Variant, ...]) -> Variant:
    """The first of `variants` that takes the lines of an H x W map, or the one for any."""
    longest = max(H, W)
    return next((v for v in variants if longest <= v.longest), IN_MEMORY)


# Whether rows are read four elements at a time.
LAYOUTS = ("-DALIGNED=1", "-DALIGNED=0")


def layout(W: int, *arrays: DeviceArray | None) -> str:
    """The option that says whether rows of W elements can be read four elements at a time."""
    whole = W % 4 == 0 and all(
        a.address % (4 * a.dtype.itemsize) == 0 for a in arrays if a is not None
    )
    return LAYOUTS[0 if whole else 1]


def work_space(*shapes: tuple[int, ...]) -> list[DeviceArray | None]:
    """Float32 arrays in the work space that all layers share; None for those without elements."""
    counts = [math.prod(shape) for shape in shapes]
    scratch = runtime().scratch(4 * sum(counts))
    starts = [scratch.address + 4 * sum(counts[:i]) for i in range(len(counts))]
    return [
        DeviceArray(at, shape, owner=scratch.owner) if math.prod(shape) else None
        for at, shape in zip(starts, shapes, strict=True)
    ]


def check(kernel: str, shape: tuple[int, ...], dtype, **arrays: DeviceArray | None) -> None:
    """Refuse arrays of another shape or type; None stands for an array that is left out.

    Raises
    ------
    ShapeError
    """
    for name, array in arrays.items():
        if array is not None and (array.shape != shape or array.dtype != dtype):
            raise ShapeError(
                f"{kernel}: {name} is {array.shape} ({array.dtype}); it must be {shape} ({dtype})"
            )
