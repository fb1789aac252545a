"""Arrays up to the device and down from it."""

import numpy as np

from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.runtime import runtime


def normal(*shape, seed=0):
    """Standard normal float32 numbers."""
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def empty(shape, dtype=np.float32) -> DeviceArray:
    """A new device array, which holds NaN when the device is emulated."""
    return runtime().array(shape, dtype)


def up(array) -> DeviceArray:
    """A device array with this content."""
    array = np.ascontiguousarray(array)
    made = empty(array.shape, array.dtype)
    if array.size:
        runtime().upload(made, array)
    return made


def down(array: DeviceArray) -> np.ndarray:
    """What a device array holds."""
    host = np.empty(array.shape, array.dtype)
    if host.size:
        runtime().download(host, array)
    return host
