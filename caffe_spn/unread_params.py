"""Name the parameters in a definition that its layer's type does not read.

Caffe ignores them without a word, which hides mistakes such as the ignore_label of an Accuracy
layer in a loss_param.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from caffe_spn.training_log import logger

# Types that read another one's message, or a shared one, besides or instead of their own.
_BORROWED = {
    "Deconvolution": ("convolution_param",),
    "Im2col": ("convolution_param",),
    "LSTM": ("recurrent_param",),
    "RNN": ("recurrent_param",),
    "SoftmaxWithLoss": ("softmax_param", "loss_param"),
    "SigmoidCrossEntropyLoss": ("sigmoid_param", "loss_param"),
    "InfogainLoss": ("loss_param",),
    "Data": ("transform_param",),
    "HDF5Data": ("transform_param",),
    "ImageData": ("transform_param",),
    "MemoryData": ("transform_param",),
    "WindowData": ("transform_param",),
}


def warn_of_unread(layer_param, place: Callable[[object], str | None]) -> None:
    """Log what `unread_params` finds; `place` knows the file and line of a layer, or None."""
    unread = unread_params(layer_param)
    if unread:
        layer = f"layer '{layer_param.name}' ({layer_param.type})"
        where = ": ".join(part for part in (place(layer_param), layer) if part)
        logger.warning("%s: this type reads no %s", where, " and no ".join(unread))


def unread_params(layer_param) -> list[str]:
    """The parameter messages that are stated and that the type, one of the package's, ignores."""
    own = _own_params(layer_param.DESCRIPTOR).get(layer_param.type)
    read = {own, *_BORROWED.get(layer_param.type, ())}
    return [
        field.name
        for field, _ in layer_param.ListFields()
        if field.name.endswith("_param") and field.name not in read
    ]


@functools.lru_cache(maxsize=2)
def _own_params(layer_parameter) -> dict[str, str]:
    """Type to the field whose message is named after it."""
    return {
        field.message_type.name.removesuffix("Parameter"): field.name
        for field in layer_parameter.fields
        if field.message_type is not None and field.name.endswith("_param")
    }
