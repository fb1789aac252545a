"""The kernels of one device: compiled and loaded at the first use, launched with plain values."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.driver import Driver


class Programs:
    """The modules and kernels that a device has loaded.

    Parameters
    ----------
    driver : Driver
    """

    def __init__(self, driver: Driver):
        self.driver = driver
        self._modules: dict = {}
        self._functions: dict = {}
        self._lock = threading.Lock()

    def function(self, source: str, kernel: str, options: tuple[str, ...] = ()):
        """The kernel `kernel` of ``cuda/<source>``, compiled with `options`."""
        key = (source, kernel, options)
        function = self._functions.get(key)
        if function is None:
            # One thread compiles; others that need the same kernel wait for it.
            with self._lock:
                module = self._modules.get((source, options))
                if module is None:
                    module = self.driver.load(source, options)
                    self._modules[source, options] = module
                function = self._functions[key] = self.driver.function(module, kernel)
        return function


def three(size: int | Sequence[int]) -> tuple[int, int, int]:
    """The size of a grid or a block in three dimensions."""
    size = tuple(size) if isinstance(size, (tuple, list)) else (int(size),)
    return size if len(size) == 3 else (*size, 1, 1)[:3]


def scalar(value) -> np.generic:
    """An argument of a kernel as what C receives.

    A DeviceArray is its address, None a null pointer, an int or bool a C int, a float a C float; a
    NumPy scalar is itself.

    Raises
    ------
    TypeError
        For anything else: a kernel would take any bytes.
    """
    convert = _CONVERSIONS.get(type(value))
    if convert is not None:
        return convert(value)
    if isinstance(value, np.generic):
        return value
    if isinstance(value, DeviceArray):
        return np.uint64(value.address)
    raise TypeError(f"a kernel takes no {type(value).__name__} as an argument: {value!r}")


_CONVERSIONS = {
    DeviceArray: lambda array: np.uint64(array.address),
    type(None): lambda _: np.uint64(0),
    int: np.int32,
    bool: np.int32,
    float: np.float32,
}
