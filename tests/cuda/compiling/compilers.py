"""What tests of compiling share: which compilers are here, and a compiler that is none."""

import pytest

from caffe_spn.cuda.compiling import nvcc, nvrtc
from caffe_spn.cuda.compiling.compiler_base import Compiler


def real(name):
    """The compiler nvcc or NVRTC of this machine; skips the test where it is missing."""
    path = {"nvcc": nvcc, "NVRTC": nvrtc}[name].find()
    if path is None:
        pytest.skip(f"{name} was not found")
    return nvcc.Nvcc(path) if name == "nvcc" else nvrtc.Nvrtc(path)


class StandIn(Compiler):
    """Counts what it is asked for; its code names the architecture and holds the source."""

    name = "stand-in"

    def __init__(self, path, known=(75, 80, 90), problem=None):
        super().__init__(path)
        path.touch()
        self.known = known
        self.problem = problem
        self.compiled = []

    def version(self):
        return "1.0"

    def _architectures(self):
        return list(self.known)

    def compile(self, program, architecture, options):
        self.compiled.append(architecture)
        if self.problem:
            raise self.problem
        return b" ".join([architecture.encode(), *map(str.encode, options), program.text])
