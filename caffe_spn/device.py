"""Which device computes: the CPU, always there, or a GPU.

Source: `Caffe::set_mode` and `Caffe::SetDevice` of BVLC Caffe.

Notes
-----
The mode belongs to a thread, as in Caffe: a new thread starts on the CPU and calls `set_mode_gpu`
itself. The GPU belongs to the process: all threads that use one use the same.
"""

from __future__ import annotations

import threading

from caffe_spn.errors import DeviceError

CPU, GPU = 0, 1


class _OfThread(threading.local):
    mode = CPU


_thread = _OfThread()
# The GPU that set_device chose, and why the last attempt to use one failed.
_chosen = 0
_failure: DeviceError | None = None


def mode() -> int:
    """`CPU` or `GPU`: what layers of this thread compute on."""
    return _thread.mode


def set_mode_cpu() -> None:
    """Compute on the CPU (the default). The GPU stays open, with the blobs that are on it."""
    _thread.mode = CPU


def set_mode_gpu() -> None:
    """Compute on the GPU: on the one that `set_device` chose, or on the first.

    Raises
    ------
    DeviceError
        If PyCUDA, the driver or a GPU is missing, or does not work; with what to do. The mode
        stays as it was.
    """
    _open(_chosen)
    _thread.mode = GPU


def set_device(device_id: int) -> None:
    """Choose the GPU that `set_mode_gpu` uses, and open it; the mode stays.

    Another one can be chosen as long as nothing is on the first.

    Raises
    ------
    DeviceError
        As `set_mode_gpu`, and if there is no such GPU.
    """
    global _chosen
    _open(int(device_id))
    _chosen = int(device_id)


def synchronize() -> None:
    """Wait until what this thread's layers have enqueued is done; on the CPU it always is."""
    if _thread.mode == GPU:
        from caffe_spn.cuda.runtime import runtime

        runtime().synchronize()


def failure() -> DeviceError | None:
    """Why the last `set_mode_gpu` or `set_device` of this process failed, if it did."""
    return _failure


def _open(ordinal: int) -> None:
    global _failure
    from caffe_spn.cuda.runtime import open_device

    try:
        open_device(ordinal)
    except DeviceError as error:
        _failure = error
        raise
    _failure = None
