"""Copies between the host and a device, for tests."""

from __future__ import annotations

import numpy as np

from caffe_spn.cuda.array import DeviceArray


def to_device(gpu, array) -> DeviceArray:
    """A copy of an array on the device."""
    array = np.ascontiguousarray(array)
    result = gpu.array(array.shape, array.dtype)
    gpu.upload(result, array)
    return result


def to_host(gpu, array: DeviceArray) -> np.ndarray:
    """A copy of a device array."""
    result = np.empty(array.shape, array.dtype)
    gpu.download(result, array)
    return result
