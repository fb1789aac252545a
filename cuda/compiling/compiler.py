"""CUDA C to machine code, compiled once and kept on disk.

nvcc compiles where it is found, else NVRTC. Neither needs a GPU or its driver.

    from caffe_spn.cuda.compiling.compiler import compile_cubin

    code = compile_cubin("divide.cu", (9, 0))
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from caffe_spn.cuda.compiling import cache, nvcc, nvrtc
from caffe_spn.cuda.compiling.cache import cache_dir
from caffe_spn.cuda.compiling.compiler_base import (
    FLAGS,
    CompileError,
    Compiler,
    CompilerUnusable,
    Program,
    shortened,
)
from caffe_spn.cuda.device.driver import OLDEST_CAPABILITY
from caffe_spn.errors import DeviceError

__all__ = ["CompileError", "CompilerUnusable", "cache_dir", "compile_cubin", "compilers"]

SOURCES = Path(__file__).parents[1]
# Older GPUs lack instructions that kernels use, and CUDA 13 does not compile for them.
OLDEST = 10 * OLDEST_CAPABILITY[0] + OLDEST_CAPABILITY[1]
CPU_HELP = "set_mode_cpu() works everywhere"

_log = logging.getLogger("caffe_spn")


def compile_cubin(source: str, capability: tuple[int, int], options: Sequence[str] = ()) -> bytes:
    """Machine code for a GPU, from the cache if it was compiled before.

    Parameters
    ----------
    source : str
        A file in `cuda/`, such as ``divide.cu``, or the path of another; its headers are looked for
        beside it and in `cuda/`.
    capability : (int, int)
        The GPU's: (9, 0) is sm_90.
    options : sequence of str
        Such as ``-DRADIUS=2``.

    Returns
    -------
    bytes
        An ELF file (cubin), as ``cuModuleLoadData`` takes it. For a GPU that is newer than all
        compilers found it is PTX for the newest architecture below the GPU's that they know; the
        same function takes it, and the driver compiles it.

    Raises
    ------
    CompileError
        If the source does not compile: the compiler's words, with file and line.
    DeviceError
        If there is no compiler, none that works, or none that knows such a GPU.

    Notes
    -----
    The cache's key holds the sources, the options, the architecture, and the compiler's path, size
    and time of change: no compiler is started to find an entry. Where none is installed any
    compiler's entry serves, so that a cache that was filled elsewhere works on a machine without.
    """
    number = capability[0] * 10 + capability[1]
    if number < OLDEST:
        raise DeviceError(
            f"this GPU is of architecture sm_{number}; the kernels need sm_{OLDEST} (Turing) or"
            " newer",
            help=CPU_HELP,
        )
    program = Program.read(SOURCES / source, SOURCES)
    found = compilers()
    for compiler in found:
        code = cache.load(entry(program, f"sm_{number}", options, compiler))
        if code is not None:
            return code
    if not found:
        code = cache.load_any(entry(program, f"sm_{number}", options))
        if code is not None:
            return code
        raise DeviceError(
            f"there is no compiler for {source}: neither nvcc nor NVRTC was found",
            help="pip install nvidia-cuda-nvrtc (of CUDA 13; for drivers before 580"
            " nvidia-cuda-nvrtc-cu12), or install NVIDIA's CUDA toolkit with nvcc in PATH",
        )
    compiler, code = _compile(found, program, number, options)
    # Not if somebody edited the source meanwhile: it may be the old name for the new text's code.
    if program == Program.read(program.path, SOURCES):
        cache.store(entry(program, f"sm_{number}", options, compiler), code)
    return code


def compilers() -> list[Compiler]:
    """The compilers found, the preferred one first. None is started or loaded."""
    found: list[Compiler] = []
    if path := nvcc.find():
        found.append(nvcc.Nvcc(path))
    if path := nvrtc.find():
        found.append(nvrtc.Nvrtc(path))
    return found


def entry(
    program: Program, target: str, options: Sequence[str], compiler: Compiler | None = None
) -> str:
    """The name of an entry in the cache; without a compiler, how every compiler's begins."""
    digest = hashlib.sha256()
    for part in (*FLAGS, *options, program.path.name, program.text):
        _update(digest, part)
    for name, text in sorted(program.headers.items()):
        _update(digest, name)
        _update(digest, text)
    name = f"{program.path.stem}-{target}-{digest.hexdigest()[:32]}-"
    if compiler is None:
        return name
    return name + hashlib.sha256(compiler.identity().encode()).hexdigest()[:16]


def _update(digest, part: str | bytes) -> None:
    part = part.encode() if isinstance(part, str) else part
    # With its length, so that no two lists of parts run together into the same bytes.
    digest.update(b"%d:" % len(part) + part)


def _compile(
    found: list[Compiler], program: Program, number: int, options: Sequence[str]
) -> tuple[Compiler, bytes]:
    """The code, and which compiler made it: the first one that works."""
    problems: list[DeviceError] = []
    for compiler, architecture in _attempts(found, number, problems):
        _log.info("compiling %s for %s with %s", program.path.name, architecture, compiler.name)
        try:
            return compiler, compiler.compile(program, architecture, options)
        except CompilerUnusable as problem:
            _warn_once(problem)
            problems.append(problem)
    if len(problems) == 1:
        raise problems[0]
    raise DeviceError(
        f"no compiler works for {program.path.name} and sm_{number}:\n"
        + "\n".join(shortened(problem.message) for problem in problems),
        help=problems[-1].help,
    )


def _attempts(
    found: list[Compiler], number: int, problems: list[DeviceError]
) -> Iterator[tuple[Compiler, str]]:
    """Compilers with what each shall compile for: machine code by any of them, then PTX by any."""
    lower = []
    for compiler in found:
        try:
            known = compiler.architectures
        except CompilerUnusable as problem:
            problems.append(problem)
            continue
        if number in known:
            yield compiler, f"sm_{number}"
            continue
        below = [a for a in known if a < number]
        if below:
            lower.append((compiler, f"compute_{below[-1]}"))
        else:
            problems.append(
                DeviceError(
                    f"this GPU is of architecture sm_{number}; {compiler} of release"
                    f" {compiler.version()} knows sm_{known[0]} to sm_{known[-1]}",
                    help="install an older CUDA release: its nvcc, or"
                    " pip install 'nvidia-cuda-nvrtc-cu12'; " + CPU_HELP,
                )
            )
    yield from lower


_warned: set[str] = set()


def _warn_once(problem: CompilerUnusable) -> None:
    """Say that a compiler is passed over, not for each kernel anew."""
    if problem.message not in _warned:
        _warned.add(problem.message)
        _log.warning("%s", problem.message)
