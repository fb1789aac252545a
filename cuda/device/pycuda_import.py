"""Imports PyCUDA and starts the CUDA driver; says what is missing where that fails."""

from __future__ import annotations

import ctypes
import os

from caffe_spn.errors import DeviceError

PYCUDA_HELP = "pip install 'caffe_spn[gpu]' (docs/gpu.md)"
DRIVER_HELP = "install NVIDIA's driver (in a container: start it with --gpus all)"
ON_CPU = "or compute on the CPU"


def import_driver():
    """The module `pycuda.driver`, started.

    Raises
    ------
    DeviceError
        If PyCUDA or the driver is not installed, the driver does not start, or it finds no GPU.
    """
    try:
        cuda = _import()
    except ImportError as error:
        raise _missing(error) from error
    try:
        cuda.init()
    except cuda.Error as error:
        raise _not_started(str(error)) from error
    return cuda


def library() -> ctypes.CDLL:
    """The driver's own library.

    Raises
    ------
    OSError
        If it is not there.
    """
    return ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")


def driver_version() -> str | None:
    """The newest CUDA that the driver knows, such as '13.0'; None without a driver."""
    version = ctypes.c_int()
    try:
        if library().cuDriverGetVersion(ctypes.byref(version)):
            return None
    except OSError:
        return None
    return f"{version.value // 1000}.{version.value % 1000 // 10}"


def _import():
    import pycuda.driver

    return pycuda.driver


def _missing(error: ImportError) -> DeviceError:
    if isinstance(error, ModuleNotFoundError) and error.name in ("pycuda", "pycuda.driver"):
        return DeviceError(
            "the GPU was asked for, but PyCUDA is not installed",
            help=f"{PYCUDA_HELP}, {ON_CPU}",
        )
    if "libcuda" in str(error) or "nvcuda" in str(error):
        return DeviceError(
            f"the GPU was asked for, but there is no NVIDIA driver ({error})",
            help=f"{DRIVER_HELP}, {ON_CPU}",
        )
    if "undefined symbol: cu" in str(error):
        return DeviceError(
            f"PyCUDA was built for a newer driver than this machine's ({error})",
            help="update NVIDIA's driver, or build PyCUDA against an older CUDA (docs/gpu.md)",
        )
    return DeviceError(
        f"PyCUDA is installed, but cannot be imported ({error})", help="see docs/gpu.md"
    )


def _not_started(message: str) -> DeviceError:
    if "no CUDA-capable device" in message:
        return DeviceError(
            f"the GPU was asked for, but the driver finds none ({message})",
            help=f"look at nvidia-smi and at CUDA_VISIBLE_DEVICES, {ON_CPU}",
        )
    return DeviceError(
        f"NVIDIA's driver does not start ({message})",
        help="look at nvidia-smi; a process forked from one that used the GPU cannot use it:"
        " start it with multiprocessing.get_context('spawn')",
    )
