"""Launches ``draws.cu``: random numbers that depend on a seed and the number of a pass."""

from __future__ import annotations

import numpy as np

from caffe_spn.cuda.arguments import check
from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.runtime import runtime

SOURCE = "draws.cu"


def check_draws(kernel: str, draws: DeviceArray) -> None:
    """Refuse what is not a seed and a number of passes."""
    check(kernel, 2, np.uint64, draws=draws)


def next_pass(draws: DeviceArray) -> None:
    """Let what follows draw new numbers.

    Parameters
    ----------
    draws : DeviceArray of two uint64
        The seed, and the number of passes so far.
    """
    check_draws("next_pass", draws)
    runtime().launch(SOURCE, "next_pass", 1, 1, draws)
