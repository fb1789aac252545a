"""A generator of a layer's own, whose state a snapshot can keep."""

import numpy as np

from caffe_spn.random import spawn_seed


class OwnRandom:
    """Mix-in for layers that draw random numbers while they run, or in some of their modes.

    A resumed training draws what an uninterrupted one would have drawn, because the solver
    keeps `state` beside its snapshot.
    """

    rng: np.random.Generator | None = None

    def start_random(self) -> None:
        """Take a generator, seeded by the package's; to be called in `setup`."""
        self.rng = np.random.default_rng(spawn_seed())

    def state(self) -> dict:
        return {} if self.rng is None else {"rng": self.rng.bit_generator.state}

    def restore_state(self, state: dict) -> None:
        if self.rng is not None:
            self.rng.bit_generator.state = state["rng"]
