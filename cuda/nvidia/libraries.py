"""NVIDIA's libraries, found and opened with ctypes, and the one switch that they share.

Looked for, in this order: the folders of LD_LIBRARY_PATH, the nvidia-* packages from PyPI (of CUDA
12 and of CUDA 13), PyTorch's own copies, Python's own folder (conda), the CUDA toolkit, and what
the system's loader knows. Nothing is imported for it, and nothing is done before the first use.

`Runtime.library` opens one on a device. Tests put a stand-in into `Runtime.libraries`; the objects'
methods are the one seam between the package and the libraries:

    cublas    sgemm                                             `cublas.Cublas`
    cudnn     forward, backward_data, backward_weights          `cudnn.Cudnn`
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from caffe_spn.errors import DeviceError

_log = logging.getLogger("caffe_spn")


@dataclass(frozen=True)
class Library:
    """What a library is called.

    Attributes
    ----------
    title : str
    stem : str
        Its file's name up to the version.
    majors : tuple of int
        The versions that are known to work, the newest first.
    before : tuple of str
        Libraries that it loads by name, and finds only if they are loaded already.
    packages : str
        What to install from PyPI.
    """

    title: str
    stem: str
    majors: tuple[int, ...]
    before: tuple[str, ...]
    packages: str


LIBRARIES = {
    "cublaslt": Library("cuBLASLt", "libcublasLt.so", (13, 12, 11), (), "nvidia-cublas"),
    "cublas": Library(
        "cuBLAS",
        "libcublas.so",
        (13, 12, 11),
        ("cublaslt",),
        "nvidia-cublas (CUDA 13) or nvidia-cublas-cu12",
    ),
    "cudnn": Library(
        "cuDNN", "libcudnn.so", (9, 8), ("cublas",), "nvidia-cudnn-cu13 or nvidia-cudnn-cu12"
    ),
}

_loaded: dict[str, ctypes.CDLL] = {}
_tf32 = False


def set_tf32(allowed: bool) -> None:
    """Let NVIDIA's libraries round the factors of products to TF32, which is faster.

    Parameters
    ----------
    allowed : bool
        False, the default, computes in true float32, so that the numbers are Caffe's. With True
        convolutions, deconvolutions and inner products use tensor cores: factors keep 10 bits
        after the point instead of 23, sums stay float32.

    Notes
    -----
    It counts for all products from the next one on. The environment variable `CAFFE_SPN_TF32=1`
    sets it for programs that do not call this.
    """
    global _tf32
    _tf32 = bool(allowed)


def tf32() -> bool:
    """Whether products may be rounded to TF32."""
    return _tf32 or os.environ.get("CAFFE_SPN_TF32", "") == "1"


def places() -> Iterator[list[Path]]:
    """Where libraries may lie: groups of folders, the nearest first."""
    yield [Path(folder) for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder]
    # Finding a specification imports nothing.
    nvidia = importlib.util.find_spec("nvidia")
    roots = list(nvidia.submodule_search_locations or ()) if nvidia else []
    yield [folder for root in roots for folder in sorted(Path(root).glob("*/lib"))]
    torch = importlib.util.find_spec("torch")
    if torch and torch.origin:
        yield [Path(torch.origin).parent / "lib"]
    # An environment of conda has libraries beside Python.
    yield [Path(sys.prefix) / "lib"]
    homes = [os.environ.get(name) for name in ("CUDA_HOME", "CUDA_PATH")]
    yield [Path(home) / "lib64" for home in [*filter(None, homes), "/usr/local/cuda"]]


def find(name: str) -> Path | None:
    """The file of a library of `LIBRARIES`, or None.

    In each place the newest version that is known to work is taken; only where there is none, one
    of another version, so that an error can say which.
    """
    library = LIBRARIES[name]
    other = None
    for folders in places():
        for major in library.majors:
            for folder in folders:
                path = folder / f"{library.stem}.{major}"
                if path.is_file():
                    return path
        other = other or next(
            (path for folder in folders for path in sorted(folder.glob(f"{library.stem}.[0-9]*"))),
            None,
        )
    known = ctypes.util.find_library(library.stem.removeprefix("lib").removesuffix(".so"))
    return Path(known) if known and other is None else other


def load(name: str) -> ctypes.CDLL:
    """The library, opened together with what it needs.

    Raises
    ------
    DeviceError
        If it is not found, or the loader refuses it.
    """
    if name in _loaded:
        return _loaded[name]
    library = LIBRARIES[name]
    path = find(name)
    if path is None:
        raise DeviceError(
            f"{library.title} was not found: not in LD_LIBRARY_PATH, the nvidia-* packages,"
            " PyTorch, conda's environment, the CUDA toolkit or the system",
            help=f"pip install {library.packages}",
        )
    for needed in library.before:
        if find(needed) is not None:
            load(needed)
    try:
        _loaded[name] = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise DeviceError(
            f"{library.title} cannot be loaded from {path}: {error}",
            help=f"install it anew: pip install --force-reinstall {library.packages}",
        ) from error
    return _loaded[name]


def declare(library: ctypes.CDLL, signatures: dict[str, list]) -> ctypes.CDLL:
    """Tell ctypes the arguments of functions that return a status."""
    for name, arguments in signatures.items():
        function = getattr(library, name)
        function.argtypes = arguments
        function.restype = ctypes.c_int
    return library


class Missing:
    """What stands in `Runtime.libraries` for one that was looked for, and cannot be used."""

    def close(self) -> None:
        """There is nothing to give back."""


def optional(name: str, runtime):
    """The library's object, or None where it cannot be used, which is said once."""
    if name not in runtime.libraries:
        try:
            runtime.library(name)
        except DeviceError as error:
            runtime.libraries[name] = Missing()
            remedy = f" ({error.help})" if error.help else ""
            _log.warning(
                "%s; convolutions are computed with im2col and cuBLAS, which is slower%s",
                error.message,
                remedy,
            )
    found = runtime.libraries[name]
    return None if isinstance(found, Missing) else found


def open_library(name: str, runtime):
    """The library's object for an opened device; `Runtime.library` keeps it.

    Raises
    ------
    DeviceError
        If the library is missing or does not work with the device.
    """
    if name == "cublas":
        from caffe_spn.cuda.nvidia.cublas import Cublas

        return Cublas(runtime, load(name))
    from caffe_spn.cuda.nvidia.cudnn import Cudnn

    return Cudnn(runtime, load(name))
