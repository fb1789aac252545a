"""Which devices can be used, and how their memory is told."""

from __future__ import annotations

from collections.abc import Sequence

from caffe_spn.cuda.device.driver import OLDEST_CAPABILITY, DeviceInfo
from caffe_spn.errors import DeviceError


def checked(devices: Sequence[DeviceInfo], ordinal: int) -> DeviceInfo:
    """The device of that number.

    Raises
    ------
    DeviceError
        If there is none, or its architecture is too old.
    """
    if not 0 <= ordinal < len(devices):
        count = len(devices)
        there = {0: "there is none", 1: "there is one, number 0"}.get(
            count, f"there are {count}, numbered from 0"
        )
        raise DeviceError(
            f"GPU {ordinal} was asked for; {there}",
            help="`caffe-spn device_query` lists them; CUDA_VISIBLE_DEVICES can hide some",
        )
    device = devices[ordinal]
    if not device.supported:
        major, minor = device.capability
        raise DeviceError(
            f"{device.name} has compute capability {major}.{minor}; at least"
            f" {OLDEST_CAPABILITY[0]}.{OLDEST_CAPABILITY[1]} is needed",
            help="use a GPU of 2018 or later, or compute on the CPU",
        )
    return device


def megabytes(count: int) -> str:
    """Bytes as text: '12.3 MB'."""
    return f"{count / 1e6:,.1f} MB"
