"""How the state of one step enters the sums of the next: sums += weights (marker h), and back.

Arrays are (values, streams). Each gate is then one block, and the products of a step, whose streams
are few, take two thirds of the time that they take the other way round.
"""

from __future__ import annotations

import numpy as np

from caffe_spn.cpu.matmul import matmul


def step_input(weights, h, marker, h_in, sums) -> None:
    """h_in = marker h;  sums += weights h_in.

    Parameters
    ----------
    weights : array (S, H)
    h, h_in : arrays (H, N)
    marker : array (N,)
        0 where a sequence begins and h must not get in; otherwise 1.
    sums : array (S, N)
    """
    np.multiply(h, marker, out=h_in)
    matmul(weights, h_in, sums, add=True)


def step_input_back(transposed, marker, sums_diff, h_diff) -> None:
    """The derivative of `step_input` by h, with the weights transposed, in memory or as a view."""
    if transposed.flags.c_contiguous:
        matmul(transposed, sums_diff, h_diff)
    else:
        matmul(transposed.T, sums_diff, h_diff, transpose_a=True)
    h_diff *= marker
