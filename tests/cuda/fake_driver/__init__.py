"""A stand-in for NVIDIA's libcuda.so.1, with which the code that uses PyCUDA runs without a GPU."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.cuda.emulation.build import CUDA, build, compiler

HERE = Path(__file__).parent
# What the stand-in reports at the end of a process that gave everything back.
NOTHING_LEFT = "contexts 0 arrays 0 pinned 0 streams 0 events 0 modules 0 graphs 0\n"


def build_driver(folder: Path) -> None:
    """Compile libcuda.so.1 into a folder."""
    soname = "libcuda.so.1"
    subprocess.run(
        [
            *(compiler(), "-std=c++17", "-O1", "-Wall", "-Werror", "-shared", "-fPIC"),
            *(f"-Wl,-soname,{soname}", "-o", folder / soname, HERE / "libcuda.cpp", "-ldl"),
        ],
        check=True,
    )


def use_emulated_kernels() -> None:
    """Let kernels be compiled for the CPU: in a process that has the stand-in."""
    from caffe_spn.cuda.device import pycuda_driver

    def compile_for_cpu(source, capability, options=()):
        own = HERE / source
        path = build(own if own.exists() else CUDA / source, tuple(options))
        return str(path).encode() + b"\0"

    pycuda_driver.compile_cubin = compile_for_cpu
