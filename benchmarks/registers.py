"""What each CUDA kernel takes of a multiprocessor, as the assembler says; needs nvcc, and no GPU.

`python -m benchmarks.registers [FILE.cu ...] [--arch 80 90]` prints, for each kernel and
architecture, its registers a thread, its static shared memory a block, its stack, and what is
spilled: registers that did not fit and went to memory.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from caffe_spn.cuda.compiling import cache, nvcc
from caffe_spn.cuda.compiling.compiler import SOURCES, entry
from caffe_spn.cuda.compiling.compiler_base import FLAGS, Program
from caffe_spn.cuda.precompile import variants

# Turing, and the two data-centre GPUs whose numbers stand for their generations.
ARCHITECTURES = (75, 80, 90)
REPORT_FLAGS = ("-Xptxas=-v", "-Werror=all-warnings")
# nvcc uses one core.
WORKERS = max(2, os.cpu_count() or 2)

_KERNEL = re.compile(r"Compiling entry function '(\w+)' for 'sm_(\d+)'")
_STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers(?:.*?, (\d+) bytes smem)?")


@dataclass(frozen=True)
class Use:
    """A kernel on an architecture: registers of a thread, bytes of the rest."""

    file: str
    options: str
    kernel: str
    architecture: int
    registers: int
    shared: int
    stack: int
    spilled: int


# A file, and the options to compile it with.
Case = tuple[Path, tuple[str, ...]]


def cases(files: Iterable[Path] = ()) -> list[Case]:
    """Files, all of the package by default, with each of the options that they may get."""
    files = list(files) or sorted(SOURCES.glob("*.cu"))
    return [(path, options) for path in files for options in variants(path.name)]


def find() -> nvcc.Nvcc:
    """This machine's nvcc."""
    path = nvcc.find()
    if path is None:
        sys.exit("nvcc was not found; NVRTC does not report registers")
    return nvcc.Nvcc(path)


def compile_verbosely(compiler: nvcc.Nvcc, case: Case, architectures: Iterable[int]) -> str:
    """What nvcc and its assembler say of a file, all warnings being errors.

    It is kept in the cache: what has not changed is not compiled again.

    Raises
    ------
    CompileError
    """
    path, options = case
    program = Program.read(path, SOURCES)
    targets = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in architectures]
    name = entry(program, "report", (*targets, *REPORT_FLAGS, *options), compiler)
    known = cache.load(name)
    if known is not None:
        return known.decode()
    with tempfile.TemporaryDirectory() as scratch:
        output = compiler.call(
            "-fatbin",
            *targets,
            *FLAGS,
            *options,
            *REPORT_FLAGS,
            f"-I{SOURCES}",
            str(path),
            f"-o={scratch}/out",
            program=program,
            scratch=scratch,
        )
    cache.store(name, output.encode())
    return output


def parse(case: Case, output: str) -> list[Use]:
    """The kernels in the assembler's report."""
    found = []
    for report in output.split("ptxas info    : Compiling")[1:]:
        kernel, architecture = _KERNEL.search("Compiling" + report).groups()
        # The kernel's line, and one for each function that was not inlined into it.
        lines = [tuple(map(int, numbers)) for numbers in _STACK.findall(report)]
        registers, shared = _USED.search(report).groups()
        found.append(
            Use(
                file=case[0].name,
                options=" ".join(option.removeprefix("-D") for option in case[1]),
                kernel=kernel,
                architecture=int(architecture),
                registers=int(registers),
                shared=int(shared or 0),
                stack=max(stack for stack, _, _ in lines),
                spilled=sum(stores + loads for _, stores, loads in lines),
            )
        )
    return found


def measure(
    compiler: nvcc.Nvcc, wanted: Sequence[Case], architectures: Sequence[int] = ARCHITECTURES
) -> list[Use]:
    """Compile files, two at a time, and say what their kernels use."""

    def one(case: Case) -> list[Use]:
        return parse(case, compile_verbosely(compiler, case, architectures))

    with ThreadPoolExecutor(WORKERS) as pool:
        return [use for uses in pool.map(one, wanted) for use in uses]


def table(uses: Iterable[Use]) -> str:
    """A line for each kernel, with its numbers on each architecture."""
    kernels: dict[tuple[str, ...], list[Use]] = {}
    for use in uses:
        kernels.setdefault((use.file, use.kernel, use.options), []).append(use)
    lines = [
        "| file | kernel | compiled with | registers | static shared memory | stack | spilled |"
    ]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    for names, of_kernel in sorted(kernels.items()):
        of_kernel = sorted(of_kernel, key=lambda use: use.architecture)
        cells = [
            _joined(getattr(use, field) for use in of_kernel)
            for field in ("registers", "shared", "stack", "spilled")
        ]
        lines.append("| " + " | ".join([*names, *cells]) + " |")
    return "\n".join(lines)


def _joined(values: Iterable[int]) -> str:
    """One number where all architectures agree, else all."""
    values = list(values)
    return str(values[0]) if len(set(values)) == 1 else " / ".join(map(str, values))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="*", type=Path, help="all of cuda/ by default")
    parser.add_argument("--arch", nargs="*", type=int, default=ARCHITECTURES, metavar="80")
    arguments = parser.parse_args(argv)
    compiler = find()
    uses = measure(compiler, cases(arguments.files), arguments.arch)
    names = " / ".join(f"sm_{a}" for a in sorted(arguments.arch))
    print(f"nvcc {compiler.version()}, {names}; bytes, but for registers\n\n{table(uses)}")


if __name__ == "__main__":
    main()
