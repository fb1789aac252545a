"""Machine code on disk: whole entries or none, whatever happens to the files and the processes."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from caffe_spn.cuda.compiling import cache

CODE = bytes(range(256)) * 40


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CAFFE_SPN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    return tmp_path / "cache"


def entry(folder, name="kernel-1"):
    return folder / f"{name}{cache.SUFFIX}"


def test_what_was_stored_is_loaded(folder):
    assert cache.load("kernel-1") is None
    cache.store("kernel-1", CODE)
    assert cache.load("kernel-1") == CODE
    assert os.listdir(folder) == [entry(folder).name]


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 1000, len(CODE) + 31])
def test_half_an_entry_is_none(folder, length):
    cache.store("kernel-1", CODE)
    whole = entry(folder).read_bytes()
    entry(folder).write_bytes(whole[:length])
    assert cache.load("kernel-1") is None
    cache.store("kernel-1", CODE)
    assert cache.load("kernel-1") == CODE


def test_changed_bit(folder):
    cache.store("kernel-1", CODE)
    content = bytearray(entry(folder).read_bytes())
    content[700] ^= 4
    entry(folder).write_bytes(content)
    assert cache.load("kernel-1") is None


def test_any_entry_that_begins_so(folder):
    cache.store("kernel-1", CODE)
    cache.store("kernel-2", CODE[::-1])
    entry(folder).write_bytes(b"damaged")
    assert cache.load_any("kernel-") == CODE[::-1]
    assert cache.load_any("other-") is None


WRITER = """
import sys
from caffe_spn.cuda.compiling import cache
code = bytes([int(sys.argv[1])]) * 300_000
for _ in range(100):
    cache.store("shared-1", code)
    found = cache.load("shared-1")
    assert found is not None and len(set(found)) == 1 and len(found) == 300_000
"""


def test_two_processes_at_once(folder):
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(n)]) for n in (1, 2)]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    assert os.listdir(folder) == ["shared-1" + cache.SUFFIX]


def test_what_a_killed_process_left_is_removed_once_it_is_old(folder):
    folder.mkdir()
    old, new = folder / "kernel-1abc.tmp", folder / "kernel-1def.tmp"
    old.write_bytes(CODE)
    new.write_bytes(CODE)
    past = time.time() - 2 * cache.ABANDONED
    os.utime(old, (past, past))
    cache.store("kernel-1", CODE)
    assert not old.exists()
    assert new.exists()


def test_folder_that_cannot_be_made(folder, caplog):
    folder.write_text("a file, where the folder should be")
    cache.store("kernel-1", CODE)
    assert cache.load("kernel-1") == CODE
    assert cache.cache_dir() == cache._temporary()
    assert cache.cache_dir().stat().st_mode & 0o777 == 0o700
    assert f"cannot be kept in {folder}" in caplog.text


def test_temporary_folder_that_others_can_write_is_not_trusted(folder, caplog):
    folder.write_text("a file")
    cache.store("kernel-1", CODE)
    cache._temporary().chmod(0o777)
    assert cache.load("kernel-1") is None
    with pytest.raises(OSError, match="can be written by others"):
        cache.cache_dir()
    cache.store("kernel-1", CODE)
    assert "could not be kept" in caplog.text


def test_full_disk_is_no_error(folder, monkeypatch, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    cache.store("kernel-1", CODE)
    assert "No space left" in caplog.text
    assert os.listdir(folder) == []


def test_clear(folder):
    cache.store("kernel-1", CODE)
    cache.store("kernel-2", CODE)
    assert cache.clear() == 2
    assert cache.load("kernel-1") is None
    assert cache.clear() == 0


@pytest.mark.parametrize(
    "platform, variables, expected",
    [
        ("linux", {"CAFFE_SPN_CACHE": "/a/b", "XDG_CACHE_HOME": "/x"}, "/a/b"),
        ("linux", {"XDG_CACHE_HOME": "/x"}, "/x/caffe_spn/cuda"),
        ("linux", {}, "/home/u/.cache/caffe_spn/cuda"),
        ("darwin", {}, "/home/u/Library/Caches/caffe_spn/cuda"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/caffe_spn/cuda"),
    ],
)
def test_where(platform, variables, expected, monkeypatch):
    for name in ("CAFFE_SPN_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/u")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert cache._preferred() == Path(expected)
