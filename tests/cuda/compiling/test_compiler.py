"""CUDA C to machine code: which compiler, for which architecture, and when it is not needed."""

import os

import pytest

from caffe_spn.cuda.compiling import compiler
from caffe_spn.cuda.compiling.compiler_base import CompileError, CompilerUnusable
from caffe_spn.errors import DeviceError
from tests.cuda.compiling.compilers import StandIn, real

KERNEL = """#include "twice.cuh"
extern "C" __global__ void scale_all(float *x, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) x[i] = twice(x[i]);
}
"""
HEADER = "__device__ inline float twice(float x) { return 2 * x; }\n"


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CAFFE_SPN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def source(tmp_path):
    (tmp_path / "scale.cu").write_text(KERNEL)
    (tmp_path / "twice.cuh").write_text(HEADER)
    return str(tmp_path / "scale.cu")


@pytest.fixture
def found(tmp_path, monkeypatch):
    """The compilers that are found: one stand-in, unless the test changes the list."""
    found = [StandIn(tmp_path / "compiler")]
    monkeypatch.setattr(compiler, "compilers", lambda: found)
    return found


def test_compiled_once(source, found):
    first = compiler.compile_cubin(source, (9, 0))
    assert first == b"sm_90 " + KERNEL.encode()
    assert compiler.compile_cubin(source, (9, 0)) == first
    assert found[0].compiled == ["sm_90"]


def test_a_hit_starts_no_compiler(source, found, monkeypatch):
    compiler.compile_cubin(source, (9, 0))
    del found[0].architectures  # what was learned of it

    def refuse(*_):
        raise AssertionError("a compiler was started")

    for name in ("version", "_architectures", "compile"):
        monkeypatch.setattr(StandIn, name, refuse)
    assert compiler.compile_cubin(source, (9, 0))


def change_source(source, found):
    with open(source, "a") as file:
        file.write("// changed\n")


def change_header(source, found):
    with open(os.path.join(os.path.dirname(source), "twice.cuh"), "a") as file:
        file.write("// changed\n")


def change_compiler(source, found):
    found[0].path.write_text("another release")


@pytest.mark.parametrize("change", [change_source, change_header, change_compiler])
def test_compiled_anew_after_a_change(source, found, change):
    compiler.compile_cubin(source, (9, 0))
    change(source, found)
    compiler.compile_cubin(source, (9, 0))
    assert len(found[0].compiled) == 2


def test_header_of_a_header_counts(source, found, tmp_path):
    (tmp_path / "twice.cuh").write_text('#include "inner.cuh"\n' + HEADER)
    (tmp_path / "inner.cuh").write_text("// one\n")
    compiler.compile_cubin(source, (9, 0))
    (tmp_path / "inner.cuh").write_text("// two\n")
    compiler.compile_cubin(source, (9, 0))
    assert len(found[0].compiled) == 2


def test_options_and_architecture_are_told_apart(source, found):
    codes = {
        compiler.compile_cubin(source, capability, options)
        for capability in ((8, 0), (9, 0))
        for options in ((), ("-DA=1",), ("-DA=2",), ("-DA=1", "-DB"))
    }
    assert len(codes) == len(found[0].compiled) == 8


def test_source_changed_while_it_compiles_is_not_kept(source, found, monkeypatch):
    compile_it = StandIn.compile

    def edited_meanwhile(self, program, architecture, options):
        change_source(source, found)
        return compile_it(self, program, architecture, options)

    monkeypatch.setattr(StandIn, "compile", edited_meanwhile)
    compiler.compile_cubin(source, (9, 0))
    assert not list(compiler.cache_dir().iterdir())


def test_newer_gpu_gets_ptx_of_the_nearest_below(source, found):
    assert compiler.compile_cubin(source, (8, 6)).startswith(b"compute_80 ")
    assert compiler.compile_cubin(source, (13, 0)).startswith(b"compute_90 ")


def test_machine_code_by_the_second_compiler_beats_ptx_by_the_first(source, found, tmp_path):
    found.append(StandIn(tmp_path / "newer", known=(90, 100)))
    assert compiler.compile_cubin(source, (10, 0)).startswith(b"sm_100 ")
    assert found[0].compiled == []


def test_unusable_compiler_is_passed_over_and_named_once(source, found, tmp_path, caplog):
    broken = StandIn(tmp_path / "broken", problem=CompilerUnusable("has no C++ compiler"))
    found.insert(0, broken)
    for options in ((), (), ("-DA",)):
        compiler.compile_cubin(source, (9, 0), options)
    assert (len(broken.compiled), len(found[1].compiled)) == (2, 2)
    assert caplog.text.count("has no C++ compiler") == 1


def test_where_no_compiler_works_all_are_named(source, found, tmp_path):
    found[0].problem = CompilerUnusable("first does not start")
    found.append(StandIn(tmp_path / "second", problem=CompilerUnusable("second neither")))
    with pytest.raises(DeviceError) as caught:
        compiler.compile_cubin(source, (9, 0))
    assert "first does not start\n" in str(caught.value)
    assert "second neither" in str(caught.value)


def test_cache_filled_elsewhere_serves_where_no_compiler_is(source, found):
    code = compiler.compile_cubin(source, (9, 0))
    found.clear()
    assert compiler.compile_cubin(source, (9, 0)) == code


def test_no_compiler(source, found):
    found.clear()
    with pytest.raises(DeviceError, match=r"neither nvcc nor NVRTC was found") as caught:
        compiler.compile_cubin(source, (9, 0))
    assert "pip install nvidia-cuda-nvrtc" in caught.value.help


def test_old_gpu(source, found):
    with pytest.raises(DeviceError, match=r"sm_61; the kernels need sm_75"):
        compiler.compile_cubin(source, (6, 1))


def test_gpu_that_the_compiler_no_longer_knows(source, found):
    found[0].known = (100, 120)
    with pytest.raises(DeviceError, match=r"sm_75; .*release 1\.0 knows sm_100 to sm_120"):
        compiler.compile_cubin(source, (7, 5))


@pytest.mark.parametrize("name", ["nvcc", "NVRTC"])
class TestRealCompiler:
    """nvcc and NVRTC, where they are installed, behind the same interface."""

    @pytest.fixture(autouse=True)
    def alone(self, name, monkeypatch):
        self.compiler = real(name)
        monkeypatch.setattr(compiler, "compilers", lambda: [self.compiler])

    def test_machine_code(self, source):
        code = compiler.compile_cubin(source, (8, 0))
        assert code.startswith(b"\x7fELF")
        assert b"scale_all\0" in code

    def test_options(self, source):
        code = compiler.compile_cubin(source, (8, 0), ("-Dscale_all=renamed",))
        assert b"renamed\0" in code

    def test_headers_of_the_package(self, tmp_path):
        (tmp_path / "common.cu").write_text(
            '#include "common.cuh"\nextern "C" __global__ void sum(float *x) {\n'
            "    DYNAMIC_SHARED(float, row);\n    row[0] = 1;\n    *x = block_sum(row[0]);\n}\n"
        )
        assert compiler.compile_cubin(str(tmp_path / "common.cu"), (7, 5)).startswith(b"\x7fELF")

    def test_ptx_for_a_gpu_from_the_future(self, source):
        code = compiler.compile_cubin(source, (99, 0))
        newest = self.compiler.architectures[-1]
        assert f".target sm_{newest}".encode() in code
        assert code.endswith(b"}\n\0")

    def test_release(self):
        major, minor = self.compiler.version().split(".")
        assert int(major) >= 11 and int(minor) >= 0

    def test_knows_the_common_architectures(self):
        assert {75, 80, 90} <= set(self.compiler.architectures)

    def test_mistake_in_the_source(self, source):
        with open(source, "a") as file:
            file.write("__device__ int f() { return unknown_name; }\n")
        with pytest.raises(CompileError, match='identifier "unknown_name" is undefined') as caught:
            compiler.compile_cubin(source, (8, 0))
        assert caught.value.where == f"{source}:6"
        assert "for sm_80" in str(caught.value)
        assert not compiler.cache_dir().exists() or not list(compiler.cache_dir().iterdir())

    def test_mistake_in_a_header(self, source, tmp_path):
        (tmp_path / "twice.cuh").write_text("\n\nint twice(;\n")
        with pytest.raises(CompileError) as caught:
            compiler.compile_cubin(source, (8, 0))
        assert caught.value.where.endswith("twice.cuh:3")

    def test_header_missing(self, source, tmp_path):
        (tmp_path / "twice.cuh").unlink()
        with pytest.raises(CompileError, match=r"twice\.cuh") as caught:
            compiler.compile_cubin(source, (8, 0))
        assert caught.value.where == f"{source}:1"

    def test_mistake_that_only_the_assembler_sees(self, source):
        with open(source, "a") as file:
            file.write(
                'extern "C" __global__ void big(int *x) {\n'
                "    __shared__ int all[100000];\n    all[*x] = 1;\n    __syncthreads();\n"
                "    *x = all[5];\n}\n"
            )
        with pytest.raises(CompileError, match="too much shared data"):
            compiler.compile_cubin(source, (8, 0))
