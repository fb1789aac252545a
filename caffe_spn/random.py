"""The random numbers of the package: one generator, so that `set_random_seed` fixes a run.

Fillers, dropout and data layers draw from `generator()` when they are created and from
generators of their own, spawned here, while they run; a prefetching thread therefore never
changes what another layer draws.
"""

from __future__ import annotations

import numpy as np

_generator = np.random.default_rng()


def set_random_seed(seed: int) -> None:
    """Start the generator anew from `seed`, so that what follows can be repeated."""
    global _generator
    _generator = np.random.default_rng(int(seed) & 0xFFFFFFFFFFFFFFFF)


def generator() -> np.random.Generator:
    """The generator of the process."""
    return _generator


def spawn_seed() -> int:
    """A seed drawn from the process's generator, for a generator of one's own."""
    return int(_generator.integers(2**63))
