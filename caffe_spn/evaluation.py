"""Test passes: run a net over some batches and average what it puts out.

Source: `Solver::Test` of BVLC Caffe.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from caffe_spn.training_log import Output


def output_values(net) -> np.ndarray:
    """All numbers in the outputs of a net, in Caffe's order."""
    arrays = [net.blobs[name].data.ravel() for name in net.outputs]
    return np.concatenate(arrays).astype(np.float64) if arrays else np.empty(0)


def named_outputs(net, values: np.ndarray) -> list[Output]:
    """Numbers, ordered as `output_values` does, with their names and loss weights."""
    weights = net.blob_loss_weights
    names = [name for name in net.outputs for _ in range(net.blobs[name].count)]
    return [
        Output(name, float(value), float(weights[name]))
        for name, value in zip(names, values, strict=True)
    ]


def evaluate(
    net, iterations: int, interrupted: Callable[[], bool] = lambda: False
) -> tuple[float, list[Output]] | None:
    """Average loss and outputs over `iterations` forward passes.

    Parameters
    ----------
    net : Net
    iterations : int
        How many batches.
    interrupted : callable, optional
        Asked before each batch whether to give up.

    Returns
    -------
    tuple of float and list of Output, or None
        The mean loss and outputs; None if it was interrupted.
    """
    loss, total = 0.0, 0.0
    for _ in range(iterations):
        if interrupted():
            return None
        loss += net.forward_loss()
        total = total + output_values(net)
    if not iterations:
        return 0.0, []
    return loss / iterations, named_outputs(net, total / iterations)
