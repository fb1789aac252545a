"""Where NVIDIA's libraries are looked for, in which order, and what is said where they are not."""

import ctypes
import subprocess
import sys

import pytest

import caffe_spn
from caffe_spn.cuda.nvidia import libraries
from caffe_spn.errors import DeviceError
from tests.cuda.recorder import Recorder

ABSENT = "libc.so.6"


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine without any library: folders a, b, c are three places, one after another."""
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    monkeypatch.setattr(libraries, "places", lambda: iter([[folders[0]], folders[1:]]))
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    monkeypatch.setattr(libraries, "_loaded", {})
    return tmp_path


def put(machine, *names):
    for name in names:
        (machine / name).write_bytes(b"")


def test_nothing_is_there(machine):
    assert all(libraries.find(name) is None for name in libraries.LIBRARIES)


def test_the_nearest_place_is_taken(machine):
    put(machine, "a/libcublas.so.12", "b/libcublas.so.13")
    assert libraries.find("cublas") == machine / "a/libcublas.so.12"


def test_in_a_place_the_newest_that_works_is_taken(machine):
    put(machine, "b/libcudnn.so.8", "c/libcudnn.so.9", "c/libcudnn.so.10")
    assert libraries.find("cudnn") == machine / "c/libcudnn.so.9"


def test_only_another_version(machine):
    put(machine, "b/libcudnn.so.7")
    assert libraries.find("cudnn") == machine / "b/libcudnn.so.7"


def test_one_that_works_further_away_is_taken_before_one_that_does_not(machine):
    put(machine, "a/libcudnn.so.10", "c/libcudnn.so.9")
    assert libraries.find("cudnn") == machine / "c/libcudnn.so.9"


def test_one_library_is_not_taken_for_another(machine):
    put(machine, "a/libcublasLt.so.13", "a/libcudnn_ops.so.9", "a/libcublas.so")
    assert libraries.find("cublas") is None
    assert libraries.find("cudnn") is None


def test_the_systems_loader_is_asked_last(machine, monkeypatch):
    asked = []
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: asked.append(name) or ABSENT)
    assert str(libraries.find("cublas")) == ABSENT
    assert asked == ["cublas"]
    put(machine, "a/libcublas.so.13")
    assert libraries.find("cublas") == machine / "a/libcublas.so.13"
    assert asked == ["cublas"]


@pytest.mark.parametrize("layout", ["cublas/lib/libcublas.so.12", "cu13/lib/libcublas.so.13"])
def test_packages_of_both_cuda_versions(monkeypatch, tmp_path, layout):
    path = tmp_path / "nvidia" / layout
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "nvidia", raising=False)
    assert libraries.find("cublas") == path


def test_the_users_own_folders_come_first(monkeypatch, tmp_path):
    (tmp_path / "libcudnn.so.9").write_bytes(b"")
    monkeypatch.setenv("LD_LIBRARY_PATH", f"/nowhere::{tmp_path}")
    assert libraries.find("cudnn") == tmp_path / "libcudnn.so.9"


def test_pytorchs_copies(monkeypatch, tmp_path):
    path = tmp_path / "torch" / "lib" / "libcudnn.so.9"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    (tmp_path / "torch" / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "nvidia", raising=False)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert libraries.find("cudnn") == path


def test_an_environment_of_conda(monkeypatch, tmp_path):
    path = tmp_path / "lib" / "libcublas.so.12"
    path.parent.mkdir()
    path.write_bytes(b"")
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "nvidia", raising=False)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert libraries.find("cublas") == path


def test_the_toolkit(monkeypatch, tmp_path):
    path = tmp_path / "lib64" / "libcublas.so.12"
    path.parent.mkdir()
    path.write_bytes(b"")
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "nvidia", raising=False)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    assert libraries.find("cublas") == path


def test_missing(machine):
    with pytest.raises(DeviceError, match="cuDNN was not found: not in LD_LIBRARY_PATH") as error:
        libraries.load("cudnn")
    assert error.value.help == "pip install nvidia-cudnn-cu13 or nvidia-cudnn-cu12"


def test_broken(machine):
    put(machine, "a/libcudnn.so.9")
    with pytest.raises(DeviceError, match=r"cannot be loaded from .*libcudnn\.so\.9") as error:
        libraries.load("cudnn")
    assert "pip install --force-reinstall" in error.value.help


def test_what_a_library_needs_is_opened_before_it(machine, monkeypatch):
    put(machine, "b/libcudnn.so.9", "b/libcublas.so.13", "c/libcublasLt.so.13")
    opened = []
    monkeypatch.setattr(ctypes, "CDLL", lambda path, mode: opened.append(path) or path)
    first = libraries.load("cudnn")
    assert [path.split("/")[-1].split(".")[0] for path in opened] == [
        *("libcublasLt", "libcublas", "libcudnn")
    ]
    assert libraries.load("cudnn") is first
    assert len(opened) == 3


@pytest.mark.parametrize("name", ["cublas", "cudnn"])
def test_a_device_keeps_what_it_opened(gpu, emulated_only, monkeypatch, name):
    library = Recorder(cudnnGetVersion=90100)
    monkeypatch.setattr(libraries, "_loaded", {name: library})
    gpu.libraries.clear()
    opened = gpu.library(name)
    assert type(opened).__name__ == name.capitalize()
    assert gpu.library(name) is opened
    opened.close()
    del gpu.libraries[name]


def test_a_library_that_does_not_work_is_looked_for_once(gpu, monkeypatch, caplog):
    monkeypatch.setattr(libraries, "open_library", _refuse)
    gpu.libraries.pop("cudnn", None)
    assert libraries.optional("cudnn", gpu) is None
    assert libraries.optional("cudnn", gpu) is None
    (record,) = caplog.records
    assert record.getMessage().endswith("im2col and cuBLAS, which is slower")


def _refuse(name, runtime):
    raise DeviceError(f"{name} does not work")


def test_tf32(monkeypatch):
    monkeypatch.delenv("CAFFE_SPN_TF32", raising=False)
    assert not libraries.tf32()
    try:
        caffe_spn.set_tf32(True)
        assert libraries.tf32()
    finally:
        caffe_spn.set_tf32(False)
    assert not libraries.tf32()
    monkeypatch.setenv("CAFFE_SPN_TF32", "1")
    assert libraries.tf32()


def test_nothing_is_imported_to_find_them():
    code = (
        "import sys; from caffe_spn.cuda.nvidia import libraries; libraries.find('cudnn');"
        "assert 'torch' not in sys.modules and 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
