"""Launches ``dropout.cu``: switches off elements at random."""

from __future__ import annotations

import numpy as np

from caffe_spn.cuda.arguments import check, vector_blocks
from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.runtime import THREADS, runtime

SOURCE = "dropout.cu"


def next_pass(draws: DeviceArray) -> None:
    """Let what follows draw new numbers.

    Parameters
    ----------
    draws : DeviceArray of two uint64
        The seed, and the number of passes so far.
    """
    check("dropout_next_pass", 2, np.uint64, draws=draws)
    runtime().launch(SOURCE, "dropout_next_pass", 1, 1, draws)


def dropout(x: DeviceArray, y: DeviceArray, draws: DeviceArray, ratio: float) -> None:
    """y = x / (1 - ratio), except that a share of `ratio` is 0; `y` may be `x`.

    Which elements are 0 depends on `draws` alone, so that the backward pass calls this too.
    """
    count = check("dropout", x=x, y=y)
    check("dropout", 2, np.uint64, draws=draws)
    if count:
        threshold = np.uint32(round(ratio * 2**32))
        scale = 1 / (1 - ratio)
        runtime().launch(
            SOURCE, "dropout", vector_blocks(count), THREADS, x, y, count, draws, threshold, scale
        )
