"""A generator of a layer's own, whose state a snapshot can keep."""

import numpy as np

from caffe_spn.blob import Blob
from caffe_spn.random import spawn_seed


class OwnRandom:
    """Mix-in for layers that draw random numbers while they run, or in some of their modes.

    A resumed training draws what an uninterrupted one would have drawn, because the solver
    keeps `state` beside its snapshot.

    Attributes
    ----------
    rng : numpy Generator or None
    draws : Blob or None
        On a GPU: the seed, and the number of passes. The device counts them itself.
    """

    rng: np.random.Generator | None = None
    draws: Blob | None = None

    def start_random(self) -> None:
        """Take a generator, seeded by the package's; to be called in `setup`."""
        self.rng = np.random.default_rng(spawn_seed())

    def next_gpu_draws(self):
        """`draws` on the device, for a forward pass that draws new numbers."""
        from caffe_spn.cuda.draws import next_pass

        if self.draws is None:
            self.draws = Blob((2,), np.uint64)
            self.draws.data[...] = self.rng.integers(2**63), 0
        next_pass(self.draws.mutable_gpu_data)
        return self.draws.gpu_data

    def state(self) -> dict:
        state = {} if self.rng is None else {"rng": self.rng.bit_generator.state}
        return state if self.draws is None else {**state, "draws": self.draws.cpu_data.tolist()}

    def restore_state(self, state: dict) -> None:
        if self.rng is not None:
            self.rng.bit_generator.state = state["rng"]
        self.draws = None
        if "draws" in state:
            self.draws = Blob((2,), np.uint64)
            self.draws.data[...] = state["draws"]
