"""CUDA C to machine code with nvcc, of NVIDIA's CUDA toolkit.

nvcc needs a C++ compiler beside it even for kernels alone: it preprocesses with it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from caffe_spn.cuda.compiling.compiler_base import (
    FLAGS,
    Compiler,
    CompilerUnusable,
    Program,
    shortened,
)
from caffe_spn.errors import DeviceError

# A kernel takes seconds; this ends what hangs on a dead network drive.
TIMEOUT = 600


def find() -> Path | None:
    """nvcc: that of CAFFE_SPN_NVCC, CUDA_HOME, CUDA_PATH, PATH, or in its usual place.

    With CAFFE_SPN_NVCC set to nothing none is found, which leaves NVRTC.

    Raises
    ------
    DeviceError
        If CAFFE_SPN_NVCC names no program.
    """
    chosen = os.environ.get("CAFFE_SPN_NVCC")
    if chosen is not None:
        if not chosen:
            return None
        found = shutil.which(chosen)
        if not found:
            raise DeviceError(
                f"CAFFE_SPN_NVCC is {chosen}, which is no program",
                help="let it name nvcc, or unset it: nvcc is then looked for in CUDA_HOME,"
                " CUDA_PATH, PATH and /usr/local/cuda",
            )
        return Path(found)
    folders = [
        os.path.join(os.environ[v], "bin") for v in ("CUDA_HOME", "CUDA_PATH") if v in os.environ
    ]
    for path in (*folders, None, "/usr/local/cuda/bin"):
        found = shutil.which("nvcc", path=path)
        if found:
            return Path(found)
    return None


class Nvcc(Compiler):
    """nvcc at a path."""

    name = "nvcc"

    def identity(self) -> str:
        # nvcc reads options from these as well.
        more = [os.environ.get(f"NVCC_{v}", "") for v in ("PREPEND_FLAGS", "APPEND_FLAGS", "CCBIN")]
        return " ".join([super().identity(), *more])

    def version(self) -> str:
        found = re.search(r"release (\d+\.\d+)", self.call("--version"))
        return found[1] if found else "of unknown version"

    def _architectures(self) -> list[int]:
        return [
            int(a) for a in re.findall(r"^sm_(\d+)$", self.call("--list-gpu-code"), re.MULTILINE)
        ]

    def compile(self, program: Program, architecture: str, options: Sequence[str]) -> bytes:
        kind = "-cubin" if architecture.startswith("sm_") else "-ptx"
        # What nvcc writes beside its result goes there too, and away with it if nvcc is killed.
        with tempfile.TemporaryDirectory(prefix="caffe_spn-nvcc-") as scratch:
            result = os.path.join(scratch, "result")
            arguments = [kind, f"-arch={architecture}", *FLAGS, *options, f"-I{program.folder}"]
            self.call(*arguments, str(program.path), "-o", result, program=program, scratch=scratch)
            with open(result, "rb") as file:
                code = file.read()
        return code if kind == "-cubin" else code + b"\0"

    def call(
        self, *arguments: str, program: Program | None = None, scratch: str | None = None
    ) -> str:
        """What nvcc prints.

        Raises
        ------
        CompileError
            If it fails and blames `program`.
        CompilerUnusable
            If it fails otherwise: it cannot be started, has no C++ compiler, was killed, or hangs.
        """
        environment = {**os.environ, "LC_ALL": "C"}
        if scratch:
            environment.update(TMPDIR=scratch, TMP=scratch, TEMP=scratch)
        try:
            process = subprocess.Popen(
                [str(self.path), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment,
                text=True,
                errors="replace",
                # So that its children can be ended with it, and that Ctrl-C, which ends a training
                # in good order, does not end it.
                start_new_session=True,
            )
        except OSError as error:
            raise self._unusable(f"cannot be started: {error}") from error
        try:
            output = process.communicate(timeout=TIMEOUT)[0]
        except subprocess.TimeoutExpired as error:
            _end(process)
            raise self._unusable(f"did not finish within {TIMEOUT} s") from error
        except BaseException:
            _end(process)
            raise
        if process.returncode == 0:
            return output
        if program and program.refused(output):
            targets = [a for a in arguments if a.startswith(("-arch=", "-gencode="))]
            raise program.error(self, ", ".join(t.rpartition("=")[2] for t in targets), output)
        if process.returncode < 0:
            raise self._unusable(f"was ended by signal {-process.returncode} (out of memory?)")
        raise self._unusable(f"fails with status {process.returncode}:\n{shortened(output)}")

    def _unusable(self, what: str) -> CompilerUnusable:
        return CompilerUnusable(
            f"{self} {what}",
            help="nvcc needs a C++ compiler (g++) of a release that it supports; or"
            " pip install nvidia-cuda-nvrtc, which needs none",
        )


def _end(process: subprocess.Popen) -> None:
    """End a process with its children, which would keep its output open."""
    if os.name == "posix":
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    else:
        process.kill()
    process.communicate()
