"""NVRTC: where it is looked for, and a library that is none."""

import shutil
import subprocess
from pathlib import Path

import pytest

from caffe_spn.cuda.compiling import nvrtc
from caffe_spn.cuda.compiling.compiler_base import CompilerUnusable
from caffe_spn.cuda.nvidia import libraries


@pytest.fixture
def places(monkeypatch):
    found = []
    monkeypatch.setattr(libraries, "places", lambda: found)
    monkeypatch.setattr(nvrtc, "SYSTEM_FOLDERS", ())
    return found


def folder_with(parent, name, *files):
    (parent / name).mkdir()
    for file in files:
        (parent / name / file).touch()
    return parent / name


def test_nowhere(places):
    places.append([Path("/nowhere")])
    assert nvrtc.find() is None


def test_newest_of_a_place(places, tmp_path):
    old = folder_with(tmp_path, "cuda_nvrtc", "libnvrtc.so.12", "libnvrtc-builtins.so.12.4")
    new = folder_with(tmp_path, "cu13", "libnvrtc.so.13", "libnvrtc-builtins.so.13.5")
    places.append([old, new])
    assert nvrtc.find() == new / "libnvrtc.so.13"


def test_first_place(places, tmp_path):
    places.append([folder_with(tmp_path, "near", "libnvrtc-672ee683.so.11.2")])
    places.append([folder_with(tmp_path, "far", "libnvrtc.so.13")])
    assert nvrtc.find() == tmp_path / "near" / "libnvrtc-672ee683.so.11.2"


def test_builtins_alone_are_none(places, tmp_path):
    places.append([folder_with(tmp_path, "half", "libnvrtc-builtins.so.13.5")])
    assert nvrtc.find() is None


def test_no_library(tmp_path):
    path = tmp_path / "libnvrtc.so.13"
    path.write_text("not ELF")
    with pytest.raises(CompilerUnusable, match="cannot be loaded"):
        nvrtc.Nvrtc(path).version()


def test_release_that_crashes(tmp_path):
    (tmp_path / "old.c").write_text(
        "char *nvrtcGetErrorString(int status) { return 0; }\n"
        "int nvrtcVersion(int *major, int *minor) { *major = 11; *minor = 8; return 0; }\n"
    )
    library = tmp_path / "libnvrtc.so.11.2"
    if shutil.which("gcc") is None:
        pytest.skip("there is no gcc to compile a stand-in with")
    subprocess.run(["gcc", "-shared", "-o", library, tmp_path / "old.c"], check=True)
    with pytest.raises(CompilerUnusable, match=r"is of release 11\.8; 12\.1 is needed"):
        nvrtc.Nvrtc(library).architectures  # noqa: B018
