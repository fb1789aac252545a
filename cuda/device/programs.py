"""The kernels of one device: compiled and loaded at the first use, launched with plain values."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Sequence

import numpy as np

from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.device.driver import Driver


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
    """The size of a grid or a block in three dimensions, as Python's int, which PyCUDA needs."""
    if isinstance(size, (tuple, list)):
        return (*map(int, size), 1, 1)[:3]
    return int(size), 1, 1


class Arguments(Sequence):
    """The arguments of a launch: as the caller gave them, as NumPy scalars, and as bytes.

    A DeviceArray passes its address, None a null pointer, an int or bool a C int, a float a C
    float; a NumPy scalar passes itself. As a sequence this holds NumPy scalars.

    Raises
    ------
    TypeError
        For anything else: a kernel would take any bytes.
    """

    __slots__ = ("values",)

    def __init__(self, values: Sequence):
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> np.generic:
        value = self.values[index]
        kind, address = _kind(type(value))
        return kind(_address(value) if address else value)

    def packed(self) -> bytes:
        """One buffer, as a C compiler lays out a structure of them.

        This is part of every launch: what depends on the types alone is done once.
        """
        types = tuple(map(type, self.values))
        layout = _layouts.get(types)
        if layout is None:
            layout = _layouts[types] = _layout(types)
        pack, addresses = layout
        values = list(self.values)
        for index in addresses:
            values[index] = _address(values[index])
        return pack(*values)


def _address(value: DeviceArray | None) -> int:
    return 0 if value is None else value.address


# What each type of Python's passes.
_KINDS = {
    DeviceArray: np.uint64,
    type(None): np.uint64,
    int: np.int32,
    bool: np.int32,
    float: np.float32,
}


def _kind(given: type) -> tuple[type[np.generic], bool]:
    """The NumPy type that an argument passes, and whether it is an address."""
    kind = _KINDS.get(given)
    if kind is None:
        if not issubclass(given, np.number):
            raise TypeError(f"a kernel takes no {given.__name__} as an argument")
        kind = given
    return kind, given in (DeviceArray, type(None))


def _layout(types: tuple[type, ...]) -> tuple[Callable[..., bytes], list[int]]:
    """What packs arguments of these types, and which of them are addresses."""
    kinds = [_kind(given) for given in types]
    # The codes of struct are those of NumPy; as in C, each value is aligned to its size.
    layout = struct.Struct("".join(np.dtype(kind).char for kind, _ in kinds))
    return layout.pack, [i for i, (_, address) in enumerate(kinds) if address]


_layouts: dict[tuple[type, ...], tuple[Callable[..., bytes], list[int]]] = {}
