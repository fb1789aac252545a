"""Faults in the data that only the device sees, such as a label that is no class.

A kernel raises nothing, and waiting for each to say that all is well would cost more than most of
them do. So a kernel that meets a fault leaves a note on the device, and makes its result NaN. The
layer is watched; it is asked for the note when the host next reads a blob from the device, where it
waits anyway, or when the loss of a pass is NaN.
"""

from __future__ import annotations

import weakref

from caffe_spn.cuda import runtime

# Layers that have computed since they were last asked, and on which device, in that order.
_watched: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def watch(layer) -> None:
    """Let `layer.raise_device_fault()` be called when the host next reads from the device."""
    _watched[layer] = runtime.runtime()


def raise_found() -> None:
    """Ask all layers that were watched; the first that has met a fault raises its error."""
    if not _watched:
        return
    watched = list(_watched.items())
    _watched.clear()
    for layer, gpu in watched:
        if runtime.is_open() and gpu is runtime.runtime():
            layer.raise_device_fault()
