"""Launches ``dropout.cu``: switches off elements at random."""

from __future__ import annotations

import numpy as np

from caffe_spn.cuda.arguments import check, vector_blocks
from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.draws import check_draws
from caffe_spn.cuda.runtime import THREADS, runtime

SOURCE = "dropout.cu"


def dropout(x: DeviceArray, y: DeviceArray, draws: DeviceArray, ratio: float) -> None:
    """y = x / (1 - ratio), except that a share of `ratio` is 0; `y` may be `x`.

    Which elements are 0 depends on `draws` alone, so that the backward pass calls this too.
    """
    count = check("dropout", x=x, y=y)
    check_draws("dropout", draws)
    if count:
        threshold = np.uint32(round(ratio * 2**32))
        scale = 1 / (1 - ratio)
        runtime().launch(
            SOURCE, "dropout", vector_blocks(count), THREADS, x, y, count, draws, threshold, scale
        )
