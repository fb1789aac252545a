"""Imports PyCUDA and starts the CUDA driver; says what is missing where that fails."""

from __future__ import annotations

import importlib

from caffe_spn.errors import DeviceError


def import_driver():
    """The module `pycuda.driver`, started.

    Raises
    ------
    DeviceError
        If PyCUDA or the driver is not installed, the driver does not start, or it finds no GPU.
    """
    try:
        cuda = importlib.import_module("pycuda.driver")
    except ImportError as error:
        raise _missing(error) from error
    try:
        cuda.init()
    except cuda.Error as error:
        raise _not_started(str(error)) from error
    return cuda


def _missing(error: ImportError) -> DeviceError:
    if isinstance(error, ModuleNotFoundError) and error.name in ("pycuda", "pycuda.driver"):
        return DeviceError(
            "the GPU was asked for, but PyCUDA is not installed",
            help="pip install 'caffe_spn[gpu]' (docs/gpu.md), or compute on the CPU",
        )
    if "libcuda" in str(error) or "nvcuda" in str(error):
        return DeviceError(
            f"the GPU was asked for, but there is no NVIDIA driver ({error})",
            help="install NVIDIA's driver (in a container: start it with --gpus all), or compute on"
            " the CPU",
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
            help="look at nvidia-smi and at CUDA_VISIBLE_DEVICES, or compute on the CPU",
        )
    return DeviceError(
        f"NVIDIA's driver does not start ({message})",
        help="look at nvidia-smi; a process forked from one that used the GPU cannot use it:"
        " start it with multiprocessing.get_context('spawn')",
    )
