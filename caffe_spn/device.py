"""Which device computes: the CPU, always there, or a GPU.

Source: `Caffe::set_mode` and `Caffe::SetDevice` of BVLC Caffe.
"""

from __future__ import annotations

from caffe_spn.errors import DeviceError

CPU, GPU = 0, 1


def mode() -> int:
    """`CPU` or `GPU`: what layers compute on."""
    return CPU


def set_mode_cpu() -> None:
    """Compute on the CPU (the default)."""


def set_mode_gpu() -> None:
    """Compute on the GPU.

    Raises
    ------
    DeviceError
        Always, in this version: its layers have no GPU path yet.
    """
    raise DeviceError(
        "the GPU was asked for, but this version of caffe_spn computes on the CPU only",
        help="call set_mode_cpu(), or leave out -gpu; every network runs on the CPU",
    )


def set_device(device_id: int) -> None:
    """Choose the GPU that `set_mode_gpu` uses.

    Raises
    ------
    DeviceError
        Always, in this version.
    """
    set_mode_gpu()
