"""Say which layer an unexpected exception comes from, and leave the exception what it is.

A user's Python layer may raise anything, and who wrote it wants its type and its own stack trace.
"""

from __future__ import annotations

from collections.abc import Callable

from caffe_spn.training_log import logger


def say_layer(error: Exception, layer_param, place: Callable[[object], str | None]) -> None:
    """Add a note with layer, class and method to an exception, as Python prints it below the error.

    Parameters
    ----------
    error : Exception
        As it was caught where the layer's method was called.
    layer_param : LayerParameter
    place : callable
        From a LayerParameter to ``file:line``, or None where that is not known.

    Notes
    -----
    The note is also the exception's `raised_in_layer`. Python 3.10 prints no notes: the log has it
    then.
    """
    kind = layer_param.type
    if kind == "Python":
        kind += f": {layer_param.python_param.module}.{layer_param.python_param.layer}"
    called = error.__traceback__.tb_next
    method = called.tb_frame.f_code.co_name if called is not None else "a call"
    where = place(layer_param)
    note = f"in {method} of layer '{layer_param.name}' ({kind})" + (f", {where}" if where else "")
    error.raised_in_layer = note
    if hasattr(error, "add_note"):
        error.add_note(note)
    else:
        logger.error("%s: %s", type(error).__name__, note)
