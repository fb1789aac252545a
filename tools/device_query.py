"""caffe-spn device_query: say what the package can compute on, and what is missing for a GPU."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterator, Sequence

from caffe_spn.cuda.device.pycuda_import import DRIVER_HELP, PYCUDA_HELP, driver_version
from caffe_spn.errors import DeviceError
from caffe_spn.tools import arguments

WIDTH = 20


def parser() -> arguments.Parser:
    parser = arguments.Parser(
        "device_query",
        """
        Say what there is to compute on: the CPU with its threads, the GPUs, and everything that
        the GPU path needs, with what to do about each thing that is missing.

        With --gpu the GPUs of these numbers must be there and usable: each is opened, and runs a
        kernel that is compiled for it.
        """,
        """
        caffe-spn device_query
        caffe-spn device_query --gpu 0
        """,
        exit_codes="exit codes: 0 all well, also without a GPU, 1 a GPU of --gpu cannot be used,"
        " 2 wrong usage",
    )
    parser.add_argument(
        "--gpu", type=arguments.gpus, metavar="ID", help="GPUs that must be usable; 'all' of them"
    )
    return parser


def main(argv: Sequence[str]) -> int:
    options = parser().parse_args(argv)
    for name, found in (*_cpu(), *_gpus(), *_software()):
        print(f"{name:<{WIDTH}}  {found}")
    if options.gpu is not None:
        _try(options.gpu)
    return 0


def _cpu() -> Iterator[tuple[str, str]]:
    yield "CPU", f"{platform.processor() or platform.machine()}, {os.cpu_count()} logical cores"
    try:
        import numba
    except ImportError:
        yield "numba", "not installed; on the CPU everything runs on the slower NumPy paths"
    else:
        yield "numba", f"{numba.__version__}, {numba.config.NUMBA_NUM_THREADS} threads"


def _gpus() -> Iterator[tuple[str, str]]:
    """The driver, PyCUDA, and the devices, each as far as it can be asked without the others."""
    from caffe_spn.cuda.device.pycuda_driver import PyCudaDriver

    version = driver_version()
    yield "NVIDIA driver", f"for CUDA {version}" if version else f"not found; {DRIVER_HELP}"
    try:
        yield "PyCUDA", importlib.metadata.version("pycuda")
    except importlib.metadata.PackageNotFoundError:
        yield "PyCUDA", f"not installed; {PYCUDA_HELP}"
    try:
        devices = PyCudaDriver().devices()
    except DeviceError as error:
        yield "GPU", _missing("none can be used; every network runs on the CPU", error)
        return
    for device in devices:
        yield f"GPU {device.ordinal}", device.name
        major, minor = device.capability
        yield "  capability", f"{major}.{minor}{'' if device.supported else ', too old'}"
        yield "  memory", f"{device.memory / 1e9:.1f} GB"
        yield "  multiprocessors", str(device.multiprocessors)
        yield "  shared memory", f"{device.shared_memory / 1024:.0f} KiB for a block"


def _software() -> Iterator[tuple[str, str]]:
    """What compiles kernels, and NVIDIA's libraries."""
    from caffe_spn.cuda.compiling import nvcc, nvrtc
    from caffe_spn.cuda.compiling.cache import cache_dir
    from caffe_spn.cuda.nvidia import libraries

    compilers = {"nvcc": _found(nvcc.find), "NVRTC": _found(nvrtc.find)}
    if not any(compilers.values()):
        compilers["NVRTC"] = (
            "not found; kernels need nvcc or NVRTC: pip install nvidia-cuda-nvrtc, or install"
            " NVIDIA's CUDA toolkit"
        )
    for name, path in compilers.items():
        yield name, path or "not found; the other compiler is enough"
    for name in ("cublas", "cudnn"):
        library = libraries.LIBRARIES[name]
        path = _found(lambda name=name: libraries.find(name))
        yield library.title, path or f"not found; pip install {library.packages}"
    yield "compiled kernels", _found(cache_dir)


def _found(find) -> str | None:
    try:
        path = find()
    except (DeviceError, OSError) as error:
        return _missing("cannot be used", error)
    return None if path is None else str(path)


def _missing(what: str, error: Exception) -> str:
    """A finding, and below it the error with its remedy."""
    indent = "\n" + " " * (WIDTH + 2)
    return (f"{what}\n{error}").replace("\n", indent)


def _try(chosen: Sequence[int] | str) -> None:
    """Open each GPU, and run a kernel on it.

    Raises
    ------
    DeviceError
        If one cannot be used.
    """
    import numpy as np

    from caffe_spn import device
    from caffe_spn.cuda.copy import cut
    from caffe_spn.cuda.runtime import runtime

    if chosen == "all":
        device.set_device(0)
        chosen = range(len(runtime().driver.devices()))
    for number in chosen:
        device.set_device(number)
        gpu = runtime()
        values = np.arange(6, dtype=np.float32).reshape(2, 3)
        whole, left, right = gpu.array((2, 3)), gpu.array((2, 1)), gpu.array((2, 2))
        gpu.upload(whole, values)
        cut(whole, [left, right], [1, 2], 1)
        result = np.empty((2, 2), np.float32)
        gpu.download(result, right)
        del whole, left, right
        if not np.array_equal(result, values[:, 1:]):
            raise DeviceError(
                f"GPU {number} ({gpu.device.name}) ran a kernel and gave wrong numbers",
                help="look at nvidia-smi and at the system's log for errors of the hardware",
            )
        print(f"{f'GPU {number}':<{WIDTH}}  ran a kernel")
