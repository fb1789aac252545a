"""Faults in the data that only the device sees, such as a label that is no class.

A kernel raises nothing, and waiting for each to say that all is well would cost more than most of
them do. So a kernel that meets a fault leaves a note on the device, and makes its result NaN. The
layer is watched; it is asked for the note when the host next reads a blob from the device, where it
waits anyway, and when the loss of a pass is NaN.
"""

from __future__ import annotations

import weakref

from caffe_spn.cuda import runtime

# Layers that leave notes, by the device that they compute on; and those of them that have computed
# since they were last asked.
_watched: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
_due: weakref.WeakSet = weakref.WeakSet()


def watch(layer) -> None:
    """Let `layer.raise_device_fault()` be called when the host next reads from the device."""
    gpu = _watched[layer] = runtime.runtime()
    if gpu.watcher is not None:
        gpu.watcher.watched.append(layer)
    _due.add(layer)


def raise_found(everywhere: bool = False) -> None:
    """Ask the layers that have computed; the first that has met a fault raises its error.

    Parameters
    ----------
    everywhere : bool, default False
        Ask all layers, also those whose kernels may have run without `watch` having been called,
        as when a recorded pass is repeated.
    """
    if not (_watched if everywhere else _due):
        return
    asked = [layer for layer in _watched if everywhere or layer in _due]
    _due.clear()
    for layer in asked:
        if runtime.is_open() and _watched[layer] is runtime.runtime():
            layer.raise_device_fault()
