"""DLPack: arrays on the device that are handed from library to library without a copy.

The structures are the C interface's, made and read with `ctypes`.

Source: dlpack.h, versions 0.8 and 1.0, and "Python Specification for DLPack" of its documentation.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_int32, c_int64, c_uint8, c_uint16, c_uint32, c_uint64
from ctypes import c_void_p as pointer
from dataclasses import dataclass

import numpy as np

CPU, CUDA, CUDA_HOST, CUDA_MANAGED = 1, 2, 3, 13
READ_ONLY, IS_COPIED = 1, 2
VERSION = (1, 0)

_CODES = {"i": 0, "u": 1, "f": 2, "c": 5, "b": 6}
_KINDS = {code: kind for kind, code in _CODES.items()}

# A capsule's name says what it holds, and whether somebody has taken it out.
_OLD, _OLD_USED = b"dltensor", b"used_dltensor"
_VERSIONED, _VERSIONED_USED = b"dltensor_versioned", b"used_dltensor_versioned"


class Tensor(ctypes.Structure):
    """`DLTensor`."""

    _fields_ = (
        ("data", pointer),
        ("device_type", c_int32),
        ("device_id", c_int32),
        ("ndim", c_int32),
        ("code", c_uint8),
        ("bits", c_uint8),
        ("lanes", c_uint16),
        ("shape", POINTER(c_int64)),
        ("strides", POINTER(c_int64)),
        ("byte_offset", c_uint64),
    )


class Managed(ctypes.Structure):
    """`DLManagedTensor`, what a capsule held before version 1."""

    _fields_ = (("tensor", Tensor), ("context", pointer), ("deleter", pointer))


class Versioned(ctypes.Structure):
    """`DLManagedTensorVersioned`."""

    _fields_ = (
        ("major", c_uint32),
        ("minor", c_uint32),
        ("context", pointer),
        ("deleter", pointer),
        ("flags", c_uint64),
        ("tensor", Tensor),
    )


_CAPSULES = {_OLD: (Managed, _OLD_USED), _VERSIONED: (Versioned, _VERSIONED_USED)}


def _python(name: str, result, *arguments):
    return ctypes.PYFUNCTYPE(result, *arguments)((name, ctypes.pythonapi))


# Capsules as addresses: a capsule that is being destroyed must not be referenced again.
_new = _python("PyCapsule_New", ctypes.py_object, pointer, c_char_p, pointer)
_is_valid = _python("PyCapsule_IsValid", ctypes.c_int, pointer, c_char_p)
_get_pointer = _python("PyCapsule_GetPointer", pointer, pointer, c_char_p)
_set_name = _python("PyCapsule_SetName", ctypes.c_int, pointer, c_char_p)

# What was handed out, by the structure's address: the structure, and what it points to.
_handed_out: dict[int, tuple] = {}


@ctypes.CFUNCTYPE(None, pointer)
def _delete(address, handed_out=_handed_out):
    """The deleter of all that is handed out: whoever took it needs it no more."""
    handed_out.pop(address, None)


@ctypes.CFUNCTYPE(None, pointer)
def _destroy(capsule, handed_out=_handed_out, names=tuple(_CAPSULES)):
    """The destructor of capsules; what nobody took out is deleted with them."""
    for name in names:
        if _is_valid(capsule, name):
            handed_out.pop(_get_pointer(capsule, name), None)


for _callback in (_delete, _destroy):
    # Other libraries may call them until the process ends.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(_callback))


def to_capsule(array, device_id: int, versioned: bool, flags: int = 0):
    """A capsule that holds a DeviceArray, and keeps it alive.

    Parameters
    ----------
    array : DeviceArray
    device_id : int
    versioned : bool
        As of version 1.0.
    flags : int
        For version 1.0.
    """
    axes = len(array.shape)
    shape = (c_int64 * axes)(*array.shape)
    strides = (c_int64 * axes)(*contiguous_strides(array.shape))
    tensor = Tensor(
        array.address,
        CUDA,
        device_id,
        axes,
        _CODES[array.dtype.kind],
        array.dtype.itemsize * 8,
        1,
        shape,
        strides,
        0,
    )
    deleter = ctypes.cast(_delete, pointer)
    if versioned:
        managed = Versioned(*VERSION, None, deleter, flags, tensor)
    else:
        managed = Managed(tensor, None, deleter)
    address = ctypes.addressof(managed)
    _handed_out[address] = managed, shape, strides, array
    return _new(address, _VERSIONED if versioned else _OLD, ctypes.cast(_destroy, pointer))


@dataclass
class Taken:
    """An array that was taken out of a capsule; the memory is given back when this goes.

    Attributes
    ----------
    address : int
    device : (int, int)
        Type and number.
    shape, strides : tuple of int
        Strides in elements.
    dtype : numpy dtype
    read_only : bool
    """

    address: int
    device: tuple[int, int]
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype
    read_only: bool
    managed: object

    def __del__(self):
        if self.managed.deleter:
            call = ctypes.CFUNCTYPE(None, pointer)(self.managed.deleter)
            call(ctypes.addressof(self.managed))


def from_capsule(capsule) -> Taken:
    """Take the array out of a capsule.

    Raises
    ------
    BufferError
        If it is no DLPack capsule, was used already, or holds what NumPy has no type for.
    """
    name = next((n for n in (_VERSIONED, _OLD) if _is_valid(id(capsule), n)), None)
    if name is None:
        raise BufferError(f"{capsule!r} is no DLPack capsule that nobody has used")
    structure, used = _CAPSULES[name]
    managed = structure.from_address(_get_pointer(id(capsule), name))
    if structure is Versioned and managed.major != VERSION[0]:
        raise BufferError(
            f"the array is given as DLPack {managed.major}.{managed.minor}; {VERSION[0]} is known"
        )
    tensor = managed.tensor
    kind = _KINDS.get(tensor.code)
    if kind is None or tensor.lanes != 1 or tensor.bits % 8:
        raise BufferError(f"DLPack type {tensor.code} of {tensor.bits} bits has no NumPy type")
    shape = tuple(tensor.shape[: tensor.ndim])
    strides = tuple(tensor.strides[: tensor.ndim]) if tensor.strides else contiguous_strides(shape)
    taken = Taken(
        (tensor.data or 0) + tensor.byte_offset,
        (tensor.device_type, tensor.device_id),
        shape,
        strides,
        np.dtype(f"{kind}{tensor.bits // 8}"),
        structure is Versioned and bool(managed.flags & READ_ONLY),
        managed,
    )
    _set_name(id(capsule), used)
    return taken


def contiguous_strides(shape) -> tuple[int, ...]:
    """Elements from one entry to the next along each axis of a C-contiguous array."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))
