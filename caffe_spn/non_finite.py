"""Say where a training broke: the first layer whose numbers are not finite."""

from __future__ import annotations

import math

import numpy as np

from caffe_spn.errors import TrainingError

_HELP = (
    "lower base_lr, or set clip_gradients (e.g. 1000) in the solver; look at the data and labels"
    " of that iteration; the last good snapshot is still there to go on from"
)


def check_loss(net, loss: float, iteration: int, rate: float) -> None:
    """Stop a training whose loss is NaN or infinite.

    Parameters
    ----------
    net : Net
        After its forward pass.
    loss : float
    iteration : int
    rate : float
        The learning rate, for the message.

    Raises
    ------
    TrainingError
        Naming the first layer, in forward order, that is not finite.
    """
    if math.isfinite(loss):
        return
    raise TrainingError(
        f"the loss is {loss:g} in iteration {iteration} (lr = {rate:g});"
        f" {first_non_finite(net) or 'every layer is finite, only their sum is not'}",
        where=net.name or None,
        help=_HELP,
    )


def check_parameters(net, history, iteration: int) -> None:
    """Refuse to keep a state that is not finite.

    Raises
    ------
    TrainingError
        Naming the first parameter that has NaN or infinity, or saying that the history has.
    """
    found = next(filter(None, (_broken_parameter(net, i) for i in range(len(net.layers)))), None)
    if found is None and not all(np.isfinite(array).all() for array in history):
        found = "the solver's history is not finite"
    if found is not None:
        raise TrainingError(
            f"no snapshot of iteration {iteration}: {found}", where=net.name or None, help=_HELP
        )


def first_non_finite(net) -> str | None:
    """Say which layer's parameters or output has the first number that is not finite."""
    for index in range(len(net.layers)):
        found = _broken_parameter(net, index) or _broken_output(net, index)
        if found is not None:
            return found
    return None


def _broken_parameter(net, index: int) -> str | None:
    for number, blob in enumerate(net.layers[index].blobs):
        if not np.isfinite(blob.data).all():
            return f"parameter {number} of {_layer(net, index)} is not finite"
    return None


def _broken_output(net, index: int) -> str | None:
    for blob_id in net._top_ids(index):
        name = net.blob_names[blob_id]
        values = net._blobs[blob_id].data
        broken = values.size - np.count_nonzero(np.isfinite(values))
        if broken:
            return (
                f"the first output that is not finite is '{name}' of {_layer(net, index)}:"
                f" {broken} of its {values.size} numbers"
            )
    return None


def _layer(net, index: int) -> str:
    return f"layer '{net.layer_names[index]}' ({net.layers[index].type})"
