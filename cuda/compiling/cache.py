"""Machine code on disk, so that a kernel is compiled once for each machine.

An entry is a file that ends with the SHA-256 of the rest. It is written under a temporary name and
renamed, so that two processes may write one at once, and one that is killed leaves no half of it.
What does not match its sum is not there.

Source: the XDG Base Directory Specification; Apple's and Microsoft's rules for caches.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import sys
import tempfile
import time
from pathlib import Path

_log = logging.getLogger("caffe_spn")

SUFFIX = ".bin"
# Seconds after which a temporary file cannot belong to a process that still writes it.
ABANDONED = 3600


def cache_dir() -> Path:
    """Where machine code is kept.

    ``CAFFE_SPN_CACHE``, or `caffe_spn/cuda` in the user's cache folder (``XDG_CACHE_HOME``,
    ``~/.cache``; ``~/Library/Caches`` on macOS, ``%LOCALAPPDATA%`` on Windows). Where that cannot
    be written it is a folder of this user's in the temporary directory.

    Raises
    ------
    OSError
        If there is none of these.
    """
    preferred = _preferred()
    try:
        preferred.mkdir(parents=True, exist_ok=True)
        # Whether a folder can be written is known for certain only afterwards.
        with tempfile.TemporaryFile(dir=preferred):
            return preferred
    except OSError as error:
        _say_once(f"compiled kernels cannot be kept in {preferred} ({error}); set CAFFE_SPN_CACHE")
    folder = _temporary()
    folder.mkdir(mode=0o700, exist_ok=True)
    if not _only_ours(folder):
        raise OSError(
            f"{folder} can be written by others; set CAFFE_SPN_CACHE to a folder of yours"
        )
    return folder


def load(name: str) -> bytes | None:
    """The entry of this name, if it is there and whole."""
    for folder in _readable():
        code = _read(folder / (name + SUFFIX))
        if code is not None:
            return code
    return None


def load_any(prefix: str) -> bytes | None:
    """An entry whose name begins with `prefix`, if there is a whole one."""
    for folder in _readable():
        for path in sorted(folder.glob(f"{prefix}*{SUFFIX}")):
            code = _read(path)
            if code is not None:
                return code
    return None


def store(name: str, code: bytes) -> None:
    """Keep an entry; where that fails (a full disk), it is compiled again next time."""
    temporary = None
    try:
        folder = cache_dir()
        _sweep(folder)
        handle, temporary = tempfile.mkstemp(prefix=name, suffix=".tmp", dir=folder)
        with os.fdopen(handle, "wb") as file:
            file.write(code + hashlib.sha256(code).digest())
        os.replace(temporary, folder / (name + SUFFIX))
    except OSError as error:
        _say_once(f"a compiled kernel could not be kept: {error}")
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def clear() -> int:
    """Remove all entries; returns how many there were."""
    found = [path for folder in _readable() for path in folder.glob(f"*{SUFFIX}")]
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)


def _preferred() -> Path:
    chosen = os.environ.get("CAFFE_SPN_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "caffe_spn" / "cuda"


def _readable() -> list[Path]:
    """Where entries may be; the preferred folder counts even if it cannot be written to."""
    return [_preferred(), *filter(_only_ours, [_temporary()])]


def _temporary() -> Path:
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return Path(tempfile.gettempdir(), f"caffe_spn-{user}")


def _only_ours(folder: Path) -> bool:
    """Whether it is a folder that no other user can put machine code into for us to run."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    if not stat.S_ISDIR(status.st_mode):
        return False
    return not hasattr(os, "getuid") or (
        status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    )


def _read(path: Path) -> bytes | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    code, digest = content[:-32], content[-32:]
    return code if code and hashlib.sha256(code).digest() == digest else None


def _sweep(folder: Path) -> None:
    """Remove what killed processes left."""
    for path in folder.glob("*.tmp"):
        try:
            if time.time() - path.stat().st_mtime > ABANDONED:
                path.unlink()
        except OSError:
            continue


_said: set[str] = set()


def _say_once(message: str) -> None:
    if message not in _said:
        _said.add(message)
        _log.warning(message)
