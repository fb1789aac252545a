"""Compiles a .cu for the CPU, once for each content, and calls its kernels."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from caffe_spn.cuda.compiling.cache import cache_dir
from caffe_spn.errors import DeviceError

HERE = Path(__file__).parent
CUDA = HERE.parents[2] / "cuda"

LONG = 14 * 24 * 3600  # seconds

# "", "address" or "thread": the sanitizer that this process runs under (see sanitizers.py).
SANITIZER = os.environ.get("CAFFE_SPN_EMULATION", "")

COMMON = (
    "-std=c++17 -g1 -fPIC -pthread -fvisibility=hidden -fno-gnu-unique -fno-strict-aliasing"
    " -ffp-contract=off -Wall -Wno-unknown-pragmas -Wno-unused-function -Werror=return-type"
).split()
# What the compiler checks in the plain build; checks.h reports it.
CHECKS = "alignment,bounds,null,integer-divide-by-zero,signed-integer-overflow,shift"
FLAGS = {
    "": ["-O2", f"-fsanitize={CHECKS}"],
    "address": [
        *("-O1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined"),
        *("-fno-sanitize-recover=all", "-fsanitize-sections=cuda_shared"),
    ],
    "thread": ["-O1", "-fsanitize=thread"],
}

KERNEL = re.compile(
    r'extern\s+"C"\s+__global__\s+void\s+'
    r"(?:__launch_bounds__\s*\((?P<bound>[^,()]*)(?:,[^)]*)?\)\s*)?(?P<name>\w+)\s*\("
)


class EmulationError(DeviceError):
    """A kernel that does not compile, or did what it must not."""


def compiler() -> str | None:
    """GCC's C++ compiler, g++ or what CXX names; on macOS g++ is another."""
    for name in (os.environ.get("CXX"), "g++"):
        path = shutil.which(name) if name else None
        if path and sys.platform == "linux" and "Free Software Foundation" in _version(path):
            return path
    return None


def build(source: Path, options: Sequence[str] = (), sanitizer: str = SANITIZER) -> Path:
    """The library compiled from `source`, from the cache if it was compiled before.

    Raises
    ------
    EmulationError
        With the compiler's messages.
    """
    cxx = compiler()
    if cxx is None:
        raise EmulationError("there is no g++ to compile the kernels for the CPU with")
    flags = [*COMMON, *FLAGS[sanitizer], *options]
    library = _folder() / f"{source.stem}-{_digest(cxx, source, flags)}.so"
    try:
        os.utime(library)
    except FileNotFoundError:
        _remove_old(library.parent)
        with tempfile.TemporaryDirectory(dir=library.parent) as folder:
            made = Path(folder, "kernels.so")
            _compile(cxx, source, flags, sanitizer, made)
            os.replace(made, library)
    return library


def _compile(cxx: str, source: Path, flags: list[str], sanitizer: str, library: Path) -> None:
    include = [f"-I{HERE}", f"-I{CUDA}"]
    expanded = _run([cxx, "-E", "-P", "-DCUDA_EMULATION", *flags, *include, "-x", "c++", source])
    found = {m["name"]: m["bound"] or "1024" for m in KERNEL.finditer(expanded)}
    exports = "\n".join(f"EXPORT_KERNEL({name}, ({bound}))" for name, bound in found.items())
    # In an unnamed namespace templates are private to the file, as `__shared__` needs it.
    text = (
        f'#include "cuda_emulation.h"\nnamespace {{\n#include "{source}"\n}}\n'
        f'{exports}\nEXPORT_NAMES("{" ".join(found)}")\n'
    )
    objects = library.with_suffix(".o")
    _run([cxx, *flags, *include, "-x", "c++", "-c", "-", "-o", objects], text)
    # Without the flags of the plain build, which would link the sanitizer's library.
    _run([cxx, *(FLAGS[sanitizer] if sanitizer else []), "-shared", objects, "-o", library])


def _run(command: list, text: str = "") -> str:
    done = subprocess.run(command, input=text, text=True, capture_output=True)
    if done.returncode:
        raise EmulationError(f"g++ does not compile it:\n{done.stderr}")
    return done.stdout


def _folder() -> Path:
    folder = cache_dir() / "emulation"
    folder.mkdir(exist_ok=True)
    return folder


def _remove_old(folder: Path) -> None:
    """Remove what no test has used for long: each change of a kernel leaves a library."""
    for path in folder.glob("*.so"):
        if time.time() - path.stat().st_mtime > LONG:
            path.unlink(missing_ok=True)


@functools.cache
def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@functools.cache
def _version(cxx: str) -> str:
    return subprocess.run([cxx, "--version"], text=True, capture_output=True).stdout


def _digest(cxx: str, source: Path, flags: list[str]) -> str:
    """Of everything that the library depends on."""
    headers = [*sorted(HERE.glob("*.*h")), *sorted(CUDA.glob("*.cuh"))]
    parts = [platform.machine(), _version(cxx), *flags, *(_read(p) for p in (source, *headers))]
    parts.append(_read(Path(__file__)))
    return hashlib.sha256("\0".join([str(source), *parts]).encode()).hexdigest()[:24]


# Made when a kernel first needs them, and shared by all modules.
_stacks = (ctypes.c_void_p * 1024)()
_tsan_fibers = (ctypes.c_void_p * 1024)()


class Launch(ctypes.Structure):
    """The structure of the same name in block.h."""

    _fields_ = [
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared", ctypes.c_size_t),
        ("thread_order", ctypes.c_int),
        ("block_order", ctypes.c_int),
        ("seed", ctypes.c_uint),
        ("arguments", ctypes.POINTER(ctypes.c_void_p)),
        ("stacks", ctypes.POINTER(ctypes.c_void_p)),
        ("tsan_fibers", ctypes.POINTER(ctypes.c_void_p)),
        ("message", ctypes.c_char * 1024),
    ]


class Module:
    """A compiled .cu."""

    def __init__(self, source: Path, options: Sequence[str] = ()):
        self.source = source
        self.library = ctypes.CDLL(str(build(source, options)))
        self.library.kernel_names.restype = ctypes.c_char_p
        self.names = self.library.kernel_names().decode().split()

    def signature(self, name: str) -> list[str]:
        """For each parameter its kind (p, i, u, f or s for a structure) and size, as in "f4"."""
        function = getattr(self.library, f"signature_{name}")
        function.restype = ctypes.c_char_p
        return function().decode().split()

    def bound(self, name: str) -> int:
        """The most threads of a block, as ``__launch_bounds__`` says."""
        return getattr(self.library, f"bound_{name}")()

    def run(self, name: str, launch: Launch) -> None:
        """Run a kernel.

        Raises
        ------
        EmulationError
            If a thread did what it must not.
        """
        launch.stacks, launch.tsan_fibers = _stacks, _tsan_fibers
        if getattr(self.library, f"launch_{name}")(ctypes.byref(launch)):
            raise EmulationError(launch.message.decode(), f"{self.source.name}: {name}")
