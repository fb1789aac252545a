"""Arrays up to the device and down from it, for tests of launchers."""

import numpy as np

from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.runtime import runtime
from tests.cuda.emulation.arrays import to_device, to_host


def normal(*shape, seed=0):
    """Standard normal float32 numbers."""
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def empty(shape, dtype=np.float32) -> DeviceArray:
    """A new device array, which holds NaN when the device is emulated."""
    return runtime().array(shape, dtype)


def up(array) -> DeviceArray:
    """A device array with this content."""
    return to_device(runtime(), array)


def down(array: DeviceArray) -> np.ndarray:
    """What a device array holds."""
    return to_host(runtime(), array)
