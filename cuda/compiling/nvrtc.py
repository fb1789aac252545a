"""CUDA C to machine code with NVRTC, NVIDIA's run-time compiler, which is one library.

It needs neither a toolkit nor a C++ compiler, and knows no system headers. It comes with the
package nvidia-cuda-nvrtc of PyPI, with PyTorch, and with the CUDA toolkit.

Source: NVRTC's documentation (`nvrtc.h`).
"""

from __future__ import annotations

import ctypes
import functools
import re
import sys
from collections.abc import Sequence
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_void_p
from pathlib import Path

from caffe_spn.cuda.compiling.compiler_base import FLAGS, Compiler, CompilerUnusable, Program
from caffe_spn.cuda.nvidia import libraries

# libnvrtc.so.13, libnvrtc-672ee683.so.11.2 (PyTorch's own for CUDA 11); not libnvrtc-builtins.so.
_FILE = re.compile(r"libnvrtc(-[0-9a-f]{8})?\.so\.(?P<version>[\d.]+)")

# Beside those of `libraries.places`: Conda's, and what Linux distributions use. The system's loader
# is not asked, as that takes longer than to find an entry in the cache.
SYSTEM_FOLDERS = (
    f"{sys.prefix}/lib",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
)

# 12.0 and 11.8 end the process at a lambda in a template's member.
OLDEST = (12, 1)
HELP = "pip install -U nvidia-cuda-nvrtc (for drivers before 580: nvidia-cuda-nvrtc-cu12)"

# Before CUDA 13 NVRTC takes a lambda with `auto` parameters inside a kernel for a function of the
# host, unless what says nothing is the device's.
NVRTC_FLAGS = ("-default-device",)


def find() -> Path | None:
    """NVRTC's library, from where `libraries` looks for NVIDIA's others; the newest in a place."""
    for folders in (*libraries.places(), *([Path(folder)] for folder in SYSTEM_FOLDERS)):
        found = [
            (_version(match), path)
            for folder in folders
            for path in folder.glob("libnvrtc*.so.*")
            if (match := _FILE.fullmatch(path.name))
        ]
        if found:
            return max(found)[1]
    return None


def _version(match: re.Match) -> list[int]:
    return [int(part) for part in match["version"].split(".")]


class Nvrtc(Compiler):
    """NVRTC in a library."""

    name = "NVRTC"

    def identity(self) -> str:
        return " ".join([super().identity(), *NVRTC_FLAGS])

    @functools.cached_property
    def _library(self) -> ctypes.CDLL:
        try:
            library = ctypes.CDLL(str(self.path))
            library.nvrtcGetErrorString.restype = c_char_p
        except (OSError, AttributeError) as error:
            raise CompilerUnusable(f"{self} cannot be loaded: {error}", help=HELP) from error
        major, minor = c_int(), c_int()
        library.nvrtcVersion(byref(major), byref(minor))
        if (major.value, minor.value) < OLDEST:
            raise CompilerUnusable(
                f"{self} is of release {major.value}.{minor.value};"
                f" {OLDEST[0]}.{OLDEST[1]} is needed at least",
                help=HELP,
            )
        return library

    def _call(self, name: str, *arguments) -> None:
        status = getattr(self._library, name)(*arguments)
        if status:
            raise CompilerUnusable(
                f"{self}: {name} fails: {self._library.nvrtcGetErrorString(status).decode()}",
                help=HELP,
            )

    def version(self) -> str:
        major, minor = c_int(), c_int()
        self._call("nvrtcVersion", byref(major), byref(minor))
        return f"{major.value}.{minor.value}"

    def _architectures(self) -> list[int]:
        count = c_int()
        self._call("nvrtcGetNumSupportedArchs", byref(count))
        found = (c_int * count.value)()
        self._call("nvrtcGetSupportedArchs", found)
        return list(found)

    def compile(self, program: Program, architecture: str, options: Sequence[str]) -> bytes:
        handle = c_void_p()
        headers = _strings(program.headers.values())
        names = _strings(name.encode() for name in program.headers)
        self._call(
            "nvrtcCreateProgram",
            byref(handle),
            c_char_p(program.text),
            c_char_p(str(program.path).encode()),
            c_int(len(program.headers)),
            headers,
            names,
        )
        try:
            flags = (f"-arch={architecture}", *FLAGS, *NVRTC_FLAGS, *options)
            status = self._library.nvrtcCompileProgram(
                handle, c_int(len(flags)), _strings(flag.encode() for flag in flags)
            )
            if status:
                output = self._output(handle, "ProgramLog")[:-1].decode(errors="replace")
                if program.refused(output):
                    raise program.error(self, architecture, output)
                reason = self._library.nvrtcGetErrorString(status).decode()
                raise CompilerUnusable(f"{self} fails: {reason}\n{output}".strip(), help=HELP)
            return self._output(handle, "CUBIN" if architecture.startswith("sm_") else "PTX")
        finally:
            self._library.nvrtcDestroyProgram(byref(handle))

    def _output(self, handle: c_void_p, what: str) -> bytes:
        size = c_size_t()
        self._call(f"nvrtcGet{what}Size", handle, byref(size))
        text = ctypes.create_string_buffer(size.value)
        self._call(f"nvrtcGet{what}", handle, text)
        return text.raw


def _strings(items) -> POINTER(c_char_p):
    items = list(items)
    return (c_char_p * len(items))(*items)
