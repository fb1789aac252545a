"""nvcc when something is wrong with it, and where it is looked for; programs that play its part."""

import os
import time

import pytest

from caffe_spn.cuda.compiling import nvcc
from caffe_spn.cuda.compiling.compiler import compile_cubin
from caffe_spn.cuda.compiling.compiler_base import CompilerUnusable, Program
from caffe_spn.errors import DeviceError
from tests.cuda.compiling.compilers import real


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "empty.cu"
    path.write_text('extern "C" __global__ void nothing() {}\n')
    return Program.read(path, tmp_path)


@pytest.fixture
def script(tmp_path):
    """Makes a program of a shell script's lines, and an `Nvcc` that runs it."""

    def make(*lines):
        path = tmp_path / "nvcc"
        path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
        path.chmod(0o755)
        return nvcc.Nvcc(path)

    return make


def test_cannot_be_started(tmp_path, program):
    with pytest.raises(CompilerUnusable, match="cannot be started"):
        nvcc.Nvcc(tmp_path / "missing").compile(program, "sm_90", ())


def test_killed(script, program):
    with pytest.raises(CompilerUnusable, match=r"ended by signal 9 \(out of memory\?\)"):
        script("kill -9 $$").compile(program, "sm_90", ())


def runs(pid):
    """Whether a process of Linux is there and no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")")[-1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_hangs(script, program, tmp_path, monkeypatch):
    monkeypatch.setattr(nvcc, "TIMEOUT", 0.5)
    begin = time.monotonic()
    with pytest.raises(CompilerUnusable, match=r"did not finish within 0\.5 s"):
        script(f"sleep 60 & echo $! > {tmp_path}/child", "wait").compile(program, "sm_90", ())
    assert time.monotonic() - begin < 20
    child = (tmp_path / "child").read_text().strip()
    assert not runs(child), "its child runs on"


@pytest.fixture
def no_cpp_compiler(tmp_path, monkeypatch):
    """nvcc, found, where PATH has what it is made of but no C++ compiler."""
    compiler = real("nvcc")
    (tmp_path / "bin").mkdir()
    for name in ("sh", "dirname", "basename", "rm"):
        (tmp_path / "bin" / name).symlink_to(f"/bin/{name}")
    monkeypatch.setenv("CAFFE_SPN_NVCC", str(compiler.path))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return compiler


def test_no_cpp_compiler(no_cpp_compiler, program):
    compiler = no_cpp_compiler
    with pytest.raises(CompilerUnusable) as caught:
        compiler.compile(program, "sm_90", ())
    assert "Failed to preprocess host compiler properties" in caught.value.message
    assert "pip install nvidia-cuda-nvrtc" in caught.value.help


def test_no_cpp_compiler_leaves_nvrtc(no_cpp_compiler, program, tmp_path, monkeypatch, caplog):
    real("NVRTC")
    monkeypatch.setenv("CAFFE_SPN_CACHE", str(tmp_path / "cache"))
    assert compile_cubin(str(program.path), (9, 0)).startswith(b"\x7fELF")
    assert "Failed to preprocess host compiler properties" in caplog.text


def test_cpp_compiler_that_nvcc_does_not_support(script, program):
    # What nvcc prints then has the form of a mistake in a source.
    message = "/usr/include/crt/host_config.h:143:2: error: #error -- unsupported GNU version!"
    with pytest.raises(CompilerUnusable, match="unsupported GNU version"):
        script(f"echo '{message}' >&2", "exit 1").compile(program, "sm_90", ())


def test_long_output_is_shortened(script, program):
    with pytest.raises(CompilerUnusable) as caught:
        script("seq 1000", "exit 1").compile(program, "sm_90", ())
    assert len(caught.value.message.splitlines()) < 40
    assert "... 970 more lines" in caught.value.message


def test_leaves_no_temporary_files(program, tmp_path, monkeypatch, script):
    monkeypatch.setattr(nvcc.tempfile, "tempdir", str(tmp_path))
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(CompilerUnusable):
        script("touch $TMPDIR/tmpxft_0001", "exit 1").compile(program, "sm_90", ())
    assert sorted(os.listdir(tmp_path)) == sorted([*before, "nvcc"])


def test_environment_that_nvcc_reads_tells_entries_apart(script, monkeypatch):
    compiler = script("exit 0")
    plain = compiler.identity()
    monkeypatch.setenv("NVCC_APPEND_FLAGS", "-O0")
    assert compiler.identity() != plain


class TestFind:
    """CAFFE_SPN_NVCC, then CUDA_HOME, CUDA_PATH, PATH."""

    @pytest.fixture(autouse=True)
    def nowhere(self, monkeypatch):
        for name in ("CAFFE_SPN_NVCC", "CUDA_HOME", "CUDA_PATH"):
            monkeypatch.delenv(name, raising=False)

    @pytest.fixture
    def folders(self, tmp_path):
        for name in ("home", "path", "chosen"):
            (tmp_path / name / "bin").mkdir(parents=True)
            (tmp_path / name / "bin" / "nvcc").touch(mode=0o755)
        return tmp_path

    def test_path(self, folders, monkeypatch):
        monkeypatch.setenv("PATH", f"{folders}/path/bin")
        assert nvcc.find() == folders / "path/bin/nvcc"

    def test_home_before_path(self, folders, monkeypatch):
        monkeypatch.setenv("PATH", f"{folders}/path/bin")
        monkeypatch.setenv("CUDA_HOME", f"{folders}/home")
        assert nvcc.find() == folders / "home/bin/nvcc"

    def test_chosen_before_all(self, folders, monkeypatch):
        monkeypatch.setenv("CUDA_HOME", f"{folders}/home")
        monkeypatch.setenv("CAFFE_SPN_NVCC", f"{folders}/chosen/bin/nvcc")
        assert nvcc.find() == folders / "chosen/bin/nvcc"

    def test_none_chosen(self, folders, monkeypatch):
        monkeypatch.setenv("CUDA_HOME", f"{folders}/home")
        monkeypatch.setenv("CAFFE_SPN_NVCC", "")
        assert nvcc.find() is None

    def test_choice_that_is_not_there(self, monkeypatch):
        monkeypatch.setenv("CAFFE_SPN_NVCC", "/nowhere/nvcc")
        with pytest.raises(DeviceError, match="CAFFE_SPN_NVCC is /nowhere/nvcc, which is no prog"):
            nvcc.find()
