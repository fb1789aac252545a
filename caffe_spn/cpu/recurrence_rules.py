"""What the recurrence can be asked for, in the numbers that the kernels understand."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

THREE_WAY, ONE_WAY = 0, 1
SUM_ABS, CLIP, NONE = 0, 1, 2
MAXIMUM, SUM, MEAN = 0, 1, 2

# How a direction's result joins what the others left: `recurrence_join` says more.
# NumPy's integers, because Numba compiles a kernel again for each Python constant it is given.
SET, ADD, MAX, ARGMAX = np.arange(4)

# Scan steps that are computed together, and the blocks of memory a thread needs for them.
BLOCK = 64
SLOTS = 12

# Below this sum of absolute gates SUM_ABS divides by it instead, as the Divide layer does.
SMALLEST_SUM = 1e-6


class Rule(NamedTuple):
    """Which gates count and how they are normalised: r = 1 / max(weight s, floor)."""

    three_way: bool
    weight: float
    floor: float


def make_rule(connection: int, normalization: int, dtype) -> Rule:
    """The rule for values of SpatialPropagationParameter's enumerations."""
    weight, floor = {SUM_ABS: (1, SMALLEST_SUM), CLIP: (1, 1), NONE: (0, 1)}[normalization]
    number = np.dtype(dtype).type
    return Rule(connection == THREE_WAY, number(weight), number(floor))


def make_join(integration: int, training: bool, dtype) -> tuple[int, float]:
    """How to join the directions, and by what to multiply their sum."""
    number = np.dtype(dtype).type
    if integration == MAXIMUM:
        return (ARGMAX if training else MAX), number(1)
    return ADD, number(0.25 if integration == MEAN else 1)


def argmax_shape(shape: tuple[int, ...], integration: int) -> tuple[int, ...]:
    """Shape of the uint8 array in which training notes the winning directions; maybe empty."""
    return tuple(shape) if integration == MAXIMUM else (0, 0, 0, 0)
