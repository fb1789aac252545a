"""Python under a sanitizer of GCC, as the kernels built for it need it.

Source: the documentation of AddressSanitizer and ThreadSanitizer (flags).
"""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from tests.cuda.emulation.build import compiler

# The sanitizer must be there before Python; libstdc++ too, for what throws exceptions.
LIBRARIES = {
    "address": ("libasan.so", "libubsan.so", "libstdc++.so.6"),
    "thread": ("libtsan.so", "libstdc++.so.6"),
}
ROOT = Path(__file__).parents[3]


class Unavailable(Exception):
    """Python cannot run under this sanitizer here; the message says why."""


def run(sanitizer: str, *arguments: str) -> subprocess.CompletedProcess:
    """Run Python with these arguments in the repository's root, under "address" or "thread".

    Raises
    ------
    Unavailable
    """
    return _run(sanitizer, [*_prefix(sanitizer), sys.executable, *arguments])


@functools.cache
def _prefix(sanitizer: str) -> tuple[str, ...]:
    """What must stand before the command: nothing, or what switches address randomization off.

    The thread sanitizer of older compilers stops on newer kernels, which use more random bits than
    it knows of.
    """
    found = "?"
    for prefix in ((), ("setarch", platform.machine(), "-R")):
        if prefix and not shutil.which(prefix[0]):
            continue
        done = _run(sanitizer, [*prefix, sys.executable, "-c", "print('ready')"])
        if done.stdout == "ready\n":
            return prefix
        found = done.stdout
    raise Unavailable(f"Python does not run under the {sanitizer} sanitizer: {found.strip()[:300]}")


def _run(sanitizer: str, command: list[str]) -> subprocess.CompletedProcess:
    environment = dict(
        os.environ,
        CAFFE_SPN_EMULATION=sanitizer,
        LD_PRELOAD=":".join(_preload(sanitizer)),
        ASAN_OPTIONS="detect_leaks=0",
        UBSAN_OPTIONS="print_stacktrace=1",
        TSAN_OPTIONS="halt_on_error=1 ignore_noninstrumented_modules=1",
        OMP_NUM_THREADS="1",
        OPENBLAS_NUM_THREADS="1",
        NUMBA_NUM_THREADS="1",
    )
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@functools.cache
def _preload(sanitizer: str) -> list[str]:
    cxx = compiler()
    if cxx is None:
        raise Unavailable("there is no g++")
    found = []
    for name in LIBRARIES[sanitizer]:
        command = [cxx, f"-print-file-name={name}"]
        path = subprocess.run(command, text=True, capture_output=True).stdout.strip()
        if not os.path.isabs(path):  # it repeats the name of a library that it does not have
            raise Unavailable(f"g++ comes without {name}")
        found.append(path)
    return found
