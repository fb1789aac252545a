"""Work space of the kernels: taken once, reused by every later call.

A fresh large array costs a page fault for every 4 KiB of it. Kernels run one at a time (see
`caffe_spn.cpu.parallel_section`), so that one set of arrays serves all of them; nothing in it
outlives a call.
"""

from __future__ import annotations

import math

import numpy as np

_arrays: dict[str, np.ndarray] = {}


def scratch(name: str, *shape: int) -> np.ndarray:
    """A float32 array of the given shape whose content is arbitrary.

    Parameters
    ----------
    name : str
        Uses of different names never overlap.
    *shape : int
        The dimensions. The memory behind a name only grows.
    """
    count = math.prod(shape)
    flat = _arrays.get(name)
    if flat is None or flat.size < count:
        flat = _arrays[name] = np.empty(count, np.float32)
    return flat[:count].reshape(shape)


def zeros(count: int) -> np.ndarray:
    """`count` zeros that nobody may write to, for a bias that is not there."""
    flat = _arrays.get("zeros")
    if flat is None or flat.size < count:
        flat = _arrays["zeros"] = np.zeros(count, np.float32)
    return flat[:count]


def nbytes() -> int:
    """Bytes held at present."""
    return sum(a.nbytes for a in _arrays.values())


def release() -> None:
    """Give the memory back; the next kernel takes what it needs anew."""
    _arrays.clear()
