"""Every kernel compiles for every architecture, without warnings, and keeps its registers.

Needs nvcc, and for the last test NVRTC; no GPU. With `pytest -s` it prints what each kernel uses;
`python -m benchmarks.registers` prints the same.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks import registers
from caffe_spn.cuda.compiling.compiler import SOURCES
from caffe_spn.cuda.compiling.compiler_base import CompileError, Program
from tests.cuda.compiling.compilers import real

CASES = registers.cases()
# Of files that are compiled with several options, the first ones; all of them take minutes.
FIRST = list({path: (path, options) for path, options in reversed(CASES)}.values())[::-1]

# Kernels that may spill on sm_80 and newer, with the reason. None has one.
MAY_SPILL: dict[str, str] = {}


def each(cases):
    def name(case):
        return " ".join([case[0].name, *case[1]]).replace("-D", "")

    return pytest.mark.parametrize("case", cases, ids=name)


def architectures(case):
    """What a case is compiled for in every run: one architecture where it is one of several."""
    return registers.ARCHITECTURES if case in FIRST else (90,)


@pytest.fixture(scope="module")
def reports():
    """Kernels of each case, or why it does not compile; they are compiled side by side."""
    compiler = real("nvcc")

    def one(case):
        try:
            return registers.measure(compiler, [case], architectures(case))
        except CompileError as error:
            return error

    with ThreadPoolExecutor(registers.WORKERS) as pool:
        found = dict(zip(CASES, pool.map(one, CASES), strict=True))
    print("\n" + registers.table(u for uses in found.values() if type(uses) is list for u in uses))
    return found


def check(uses, compiled_for):
    assert {use.architecture for use in uses} == set(compiled_for), "a file without kernels"
    spilling = [
        f"{use.kernel} on sm_{use.architecture}: {use.spilled} bytes"
        for use in uses
        if use.spilled and use.architecture >= 80 and use.kernel not in MAY_SPILL
    ]
    assert not spilling


@each(CASES)
def test_compiles_without_warnings_and_spills_nothing(case, reports):
    if isinstance(reports[case], CompileError):
        raise reports[case]
    check(reports[case], architectures(case))


@pytest.mark.slow
@each(CASES)
def test_other_architectures(case):
    compiler = real("nvcc")
    known = [a for a in compiler.architectures if a >= 75]
    if case not in FIRST:
        known = sorted({*registers.ARCHITECTURES, known[-1]})
    check(registers.measure(compiler, [case], known), known)


@each(FIRST)
def test_compiles_with_nvrtc(case):
    path, options = case
    code = real("NVRTC").compile(Program.read(path, SOURCES), "sm_90", options)
    assert code.startswith(b"\x7fELF")


class TestReport:
    """The report is read rightly: a kernel that is known to spill, and one that does not."""

    SOURCE = """
extern "C" __global__ void __launch_bounds__(1024, 2) spilling(const float *x, float *y) {
    float all[64];
#pragma unroll
    for (int i = 0; i < 64; ++i) all[i] = x[i * 1024 + threadIdx.x];
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 64; ++i) y[i * 1024 + threadIdx.x] = all[63 - i] * all[i];
}

extern "C" __global__ void sharing(float *x) {
    __shared__ float row[256];
    row[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    x[threadIdx.x] = row[255 - threadIdx.x];
}
"""

    @pytest.fixture
    def path(self, tmp_path):
        (tmp_path / "two.cu").write_text(self.SOURCE)
        return tmp_path / "two.cu"

    def test_numbers(self, path):
        uses = registers.measure(real("nvcc"), [(path, ())], [80, 90])
        assert len(uses) == 4
        for use in uses:
            assert use.file == "two.cu"
            if use.kernel == "spilling":
                assert use.spilled > 0 and use.stack > 0 and use.registers == 32
            else:
                assert (use.spilled, use.stack, use.shared) == (0, 0, 1024)

    def test_table(self):
        uses = [registers.Use("a.cu", "A=1", "k", a, r, 0, 16, 0) for a, r in ((90, 40), (80, 32))]
        assert registers.table(uses).splitlines()[2:] == [
            "| a.cu | k | A=1 | 32 / 40 | 0 | 16 | 0 |"
        ]

    def test_warnings_are_errors(self, path):
        path.write_text('extern "C" __global__ void k() { int unused; }\n')
        with pytest.raises(CompileError, match="never referenced"):
            registers.measure(real("nvcc"), [(path, ())])

    def test_functions_that_are_not_inlined_count(self):
        line = "bytes stack frame, {} bytes spill stores, {} bytes spill loads\n"
        output = (
            "ptxas info    : Compiling entry function 'k' for 'sm_90'\n"
            "ptxas info    : Function properties for helper\n"
            f"    8 {line.format(4, 8)}"
            "ptxas info    : Function properties for k\n"
            f"    0 {line.format(0, 0)}"
            "ptxas info    : Used 20 registers, used 1 barriers, 512 bytes smem\n"
        )
        (use,) = registers.parse((Path("a.cu"), ("-DA=1",)), output)
        assert use == registers.Use("a.cu", "A=1", "k", 90, 20, 512, 8, 12)
