"""What nvcc and NVRTC have in common: a program to compile, and how a compiler answers.

`compiler` chooses between them; `nvcc` and `nvrtc` know how to drive one each.
"""

from __future__ import annotations

import functools
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from caffe_spn.errors import DeviceError

# Both compilers take these. Fused multiply-add is allowed: it rounds once where two operations
# round twice. Fast-math is not: it flushes denormals and approximates division and functions, and
# the CPU path does neither. Line numbers cost no time; profilers and compute-sanitizer show them.
FLAGS = ("-std=c++17", "-fmad=true", "-lineinfo")

# Of a compiler's output, what an error quotes: one mistake in a header can bring hundreds of lines.
QUOTED_LINES = 30

_INCLUDE = re.compile(rb'^[ \t]*#[ \t]*include[ \t]*"([^"\n]+)"', re.MULTILINE)


class CompileError(DeviceError):
    """A kernel that a compiler refused; the message is the compiler's."""


class CompilerUnusable(DeviceError):
    """A compiler that is there and does not work, whatever it is given: another one may."""


@dataclass(frozen=True)
class Program:
    """A .cu file, with the headers that it includes by name.

    Attributes
    ----------
    path : Path
    text : bytes
    headers : dict
        Text of each header by the name that it is included by.
    folder : Path
        Where headers are that are not beside the file: `cuda/`.
    """

    path: Path
    text: bytes
    headers: dict[str, bytes]
    folder: Path

    @classmethod
    def read(cls, path: Path, folder: Path) -> Program:
        """The program in a file; a header that is not there is left to the compiler to report."""
        text = path.read_bytes()
        headers: dict[str, bytes] = {}
        pending = [text]
        while pending:
            for name in _INCLUDE.findall(pending.pop()):
                name = name.decode()
                found = next((f for f in (path.parent / name, folder / name) if f.is_file()), None)
                if found and name not in headers:
                    headers[name] = found.read_bytes()
                    pending.append(headers[name])
        return cls(path, text, headers, folder)

    def refused(self, output: str) -> bool:
        """Whether a compiler's output blames this program, and not the compiler's surroundings."""
        return "ptxas error" in output or self.place(output) is not None

    def place(self, output: str) -> str | None:
        """``file:line`` of the first error in a compiler's output, if it is in this program."""
        for file, line in re.findall(r"^(\S.*?)[(:](\d+)[):].*\berror\b", output, re.MULTILINE):
            if Path(file).name in {self.path.name, *(Path(h).name for h in self.headers)}:
                return f"{file}:{line}"
        return None

    def error(self, compiler: Compiler, architecture: str, output: str) -> CompileError:
        """The error that quotes a compiler's output."""
        return CompileError(
            f"{compiler} does not compile it for {architecture}:\n{shortened(output)}",
            where=self.place(output) or str(self.path),
            help="caffe_spn's own kernels compile with the CUDA releases that docs/gpu.md names; if"
            " this one was not changed, please report it with this message",
        )


class Compiler(ABC):
    """A compiler of CUDA C that was found.

    Parameters
    ----------
    path : Path
        Its program or library.
    """

    name: str

    def __init__(self, path: Path):
        self.path = path

    def __str__(self) -> str:
        return f"{self.name} ({self.path})"

    def identity(self) -> str:
        """What changes when another version is installed; costs no start of the compiler."""
        path = self.path.resolve()
        status = path.stat()
        return f"{self.name} {path} {status.st_size} {status.st_mtime_ns}"

    @functools.cached_property
    def architectures(self) -> list[int]:
        """The architectures it makes machine code for, ascending: 90 is sm_90."""
        return sorted(self._architectures())

    @abstractmethod
    def version(self) -> str:
        """Its release, such as "13.0"."""

    @abstractmethod
    def _architectures(self) -> list[int]: ...

    @abstractmethod
    def compile(self, program: Program, architecture: str, options: Sequence[str]) -> bytes:
        """Machine code for ``sm_90``; for ``compute_90`` PTX, with the final NUL that drivers need.

        Raises
        ------
        CompileError
            If the program is at fault.
        CompilerUnusable
            If the compiler is.
        """


def shortened(output: str) -> str:
    """The first lines of a compiler's output."""
    lines = output.strip().splitlines()
    rest = len(lines) - QUOTED_LINES
    return "\n".join(lines[:QUOTED_LINES] + ([f"... {rest} more lines"] if rest > 0 else []))
