"""Arrays on the device for, and from, other libraries: PyTorch, CuPy, Numba, JAX.

    tensor = torch.from_dlpack(blob)            # the blob's values, no copy
    blob.copy_gpu_data(tensor)                  # from the tensor, within the device
    blob.share_gpu_data(tensor)                 # the tensor's memory is the blob's from now on

Work that was enqueued before is waited for on either side: everything here runs on one stream,
which is ordered with CUDA's legacy default stream, on which PyTorch and CuPy work unless told
otherwise.

Source: version 3 of the CUDA array interface (Numba's documentation); "Python Specification for
DLPack" of its documentation.
"""

from __future__ import annotations

import contextlib
import math

import numpy as np

from caffe_spn.cuda import dlpack
from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.runtime import runtime
from caffe_spn.errors import DeviceError, ShapeError

# The numbers by which both interfaces call CUDA's two default streams.
LEGACY_STREAM, PER_THREAD_STREAM = 1, 2


def as_device_array(array, writable: bool = False) -> DeviceArray:
    """The memory of another library's array, without a copy.

    Parameters
    ----------
    array : DeviceArray, or an object with `__dlpack__` or `__cuda_array_interface__`
    writable : bool, default False
        Whether it will be written to.

    Returns
    -------
    DeviceArray
        Keeps the array alive. What the other library has enqueued on the array's stream comes
        first.

    Raises
    ------
    DeviceError
        If the array is not on the open device, or may not be written.
    ShapeError
        If it is not C-contiguous, or of a type that NumPy does not have.
    """
    if isinstance(array, DeviceArray):
        return array
    kind = f"{type(array).__module__}.{type(array).__qualname__}"
    if hasattr(array, "__dlpack_device__"):
        found, read_only = _from_dlpack(array, kind)
    elif hasattr(array, "__cuda_array_interface__"):
        found, read_only = _from_interface(array, kind)
    else:
        raise DeviceError(
            f"an object of type {kind} is no array on a device: it has neither __dlpack__ nor"
            " __cuda_array_interface__",
            help="arrays in main memory are copied with blob.data[...] = array",
        )
    if writable and read_only:
        raise DeviceError(
            f"the memory of an array of type {kind} is read-only and cannot be shared",
            help="copy it: blob.copy_gpu_data(array)",
        )
    return found


def _from_dlpack(array, kind: str) -> tuple[DeviceArray, bool]:
    place = tuple(int(n) for n in array.__dlpack_device__())
    _check_device(place, kind)
    stream = runtime().stream.handle
    try:
        capsule = array.__dlpack__(stream=stream, max_version=dlpack.VERSION)
    except TypeError:
        # Older libraries know no versions.
        capsule = array.__dlpack__(stream=stream)
    try:
        taken = dlpack.from_capsule(capsule)
    except BufferError as error:
        raise ShapeError(
            f"an array of type {kind} cannot be taken: {error}", help="convert it to float32 first"
        ) from error
    _check_contiguous(taken.shape, taken.strides, 1, kind)
    return DeviceArray(taken.address, taken.shape, taken.dtype, _Borrowed(taken)), taken.read_only


def _from_interface(array, kind: str) -> tuple[DeviceArray, bool]:
    facts = array.__cuda_array_interface__
    if facts.get("mask") is not None:
        raise ShapeError(f"an array of type {kind} is masked", help="fill it first")
    shape, dtype = tuple(facts["shape"]), np.dtype(facts["typestr"])
    if facts.get("strides") is not None:
        _check_contiguous(shape, tuple(facts["strides"]), dtype.itemsize, kind)
    if facts.get("stream") not in (None, LEGACY_STREAM, runtime().stream.handle):
        runtime().enter()
        runtime().driver.synchronize()
    address, read_only = facts["data"]
    return DeviceArray(address or 0, shape, dtype, _Borrowed(array)), bool(read_only)


class _Borrowed:
    """Keeps another library's array alive; gives it back when nothing enqueued can use it."""

    def __init__(self, array):
        self.array = array
        self.gpu = runtime()

    def __del__(self):
        # After the device was closed, and in a child process, there is nothing to wait for.
        with contextlib.suppress(DeviceError):
            self.gpu.enter()
            # Garbage may be collected at any time, also while a graph is captured.
            self.gpu.driver.synchronize(self.gpu.main_stream)


def _check_device(place: tuple[int, int], kind: str) -> None:
    device_type, number = place
    if device_type == dlpack.CPU:
        raise DeviceError(
            f"an array of type {kind} is in main memory",
            help="copy it with blob.data[...] = array, or move it to the device first",
        )
    if device_type not in (dlpack.CUDA, dlpack.CUDA_MANAGED):
        raise DeviceError(
            f"an array of type {kind} is on a device of DLPack's type {device_type}; CUDA's is"
            f" {dlpack.CUDA}"
        )
    _, opened = dlpack_device()
    if device_type == dlpack.CUDA and number != opened:
        raise DeviceError(
            f"an array of type {kind} is on device {number}; device {opened} is open",
            help=f"move the array, or call set_device({number}) first",
        )


def _check_contiguous(shape, strides, item: int, kind: str) -> None:
    wanted = dlpack.contiguous_strides(shape)
    differs = any(
        size > 1 and stride != item * step
        for size, stride, step in zip(shape, strides, wanted, strict=True)
    )
    if differs and math.prod(shape):
        raise ShapeError(
            f"an array of type {kind} and shape {shape} has the strides {strides}; it must be"
            " C-contiguous",
            help="make it contiguous first: tensor.contiguous(), cupy.ascontiguousarray(array)",
        )


def dlpack_device() -> tuple[int, int]:
    """What `DeviceArray.__dlpack_device__` says."""
    return dlpack.CUDA, runtime().device.ordinal


def to_dlpack(array: DeviceArray, stream=None, max_version=None, dl_device=None, copy=None):
    """A capsule for `array`: what `DeviceArray.__dlpack__` returns.

    Parameters
    ----------
    stream : int, optional
        What the consumer works on: it finds done what was enqueued here. None is the legacy
        default stream, -1 leaves it to the consumer.
    max_version : (int, int), optional
        The latest version that the consumer knows; without it a capsule of before version 1.
    dl_device : (int, int), optional
        Where the consumer wants it; only the device that has it will do.
    copy : bool, optional
        True makes a copy.

    Raises
    ------
    BufferError
        If the consumer wants it on another device.
    """
    gpu = runtime()
    if dl_device is not None and tuple(dl_device) != dlpack_device():
        raise BufferError(
            f"the array is on DLPack device {dlpack_device()}; it cannot be given on"
            f" {tuple(dl_device)}"
        )
    if copy:
        copied = gpu.array(array.shape, array.dtype)
        gpu.copy(copied, array)
        array = copied
    let_wait(stream)
    versioned = max_version is not None and max_version[0] >= dlpack.VERSION[0]
    flags = dlpack.IS_COPIED if copy else 0
    return dlpack.to_capsule(array, gpu.device.ordinal, versioned, flags)


def let_wait(stream: int | None) -> None:
    """Let another library's stream find done what was enqueued here.

    Raises
    ------
    ValueError
        For 0, which could mean either default stream.
    """
    if stream == 0:
        raise ValueError("stream 0 is ambiguous: say 1 (legacy default) or 2 (per thread)")
    if stream not in (None, -1, LEGACY_STREAM, runtime().stream.handle):
        # A stream of which only the handle is known: the host waits in its place.
        runtime().synchronize()


def cuda_array_interface(array: DeviceArray) -> dict:
    """What `DeviceArray.__cuda_array_interface__` says."""
    return {
        "shape": array.shape,
        "typestr": array.dtype.str,
        "data": (array.address if array.size else 0, False),
        "strides": None,
        "version": 3,
        "stream": runtime().stream.handle,
    }
