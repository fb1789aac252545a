"""Reading a whole file, and writing one so that it is never seen half written."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from caffe_spn.errors import CaffeSpnError, WeightsError, nearest

MAX_BYTES = 2**31 - 1
"""What Caffe, and any protobuf library, can read as one message."""


def read_bytes(path: str | os.PathLike, error: type[CaffeSpnError] = WeightsError) -> bytes:
    """The content of a file that may hold one message.

    Parameters
    ----------
    path : str or path
    error : type, default WeightsError
        What to raise.

    Raises
    ------
    WeightsError, or the type given
        If the file cannot be read, or is larger than a message can be (2 GB).
    """
    name = os.fspath(path)
    try:
        if os.path.isfile(name) and os.path.getsize(name) > MAX_BYTES:
            raise error(f"the file has {os.path.getsize(name)} bytes{TOO_LARGE}", name, USE_HDF5)
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise error("there is no such file", name, _similar_file(Path(path))) from None
    except IsADirectoryError:
        raise error("this is a directory, not a file", name) from None
    except OSError as reason:
        raise error(f"the file cannot be read: {reason.strerror}", name) from None


TOO_LARGE = ", more than 2 GB, which no protobuf library can read"
USE_HDF5 = "use HDF5 (.h5), which has no such limit"


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[str]:
    """Give the name of a temporary file, which becomes `path` if the block ends well.

    Whoever opens `path`, at any time, finds the old content or the whole new one.

    Raises
    ------
    WeightsError
        If the file cannot be written, as on a full disk; nothing is left behind then.
    """
    name = os.fspath(path)
    temporary = f"{name}.{os.getpid()}.tmp"
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, name)
        _sync_folder(os.path.dirname(name) or ".")
    except OSError as error:
        raise WeightsError(
            f"the file cannot be written: {_reason(error)}",
            name,
            "choose a folder that is there, that you may write to, and that has room",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            os.remove(temporary)


def _reason(error: OSError) -> str:
    # h5py packs the system's message into a sentence with the temporary file's name.
    found = re.search("error message = '([^']+)'", str(error))
    return found[1] if found else error.strerror or str(error)


def _sync_folder(folder: str) -> None:
    # Without it a power cut can undo the renaming. Not every file system offers it.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _similar_file(path: Path) -> str | None:
    try:
        found = nearest(path.name, (entry.name for entry in path.parent.iterdir()))
    except OSError:
        return f"the folder {path.parent} is not there"
    return f"did you mean {path.parent / found}?" if found else None
