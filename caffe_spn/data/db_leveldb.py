"""LevelDB, through the package `plyvel`."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Iterator

from caffe_spn.data.db_keys import key_text
from caffe_spn.errors import DataError

# LevelDB lets one process open a database, and that only once: whoever reads the same one shares
# it. By real path: the database and how many read it; the last one closes it.
_open: dict[str, tuple[object, int]] = {}
# One that the thread may hold already when the collector ends a forgotten reader.
_open_lock = threading.RLock()

# What Caffe writes with.
_BLOCK_SIZE = 2**16
_WRITE_BUFFER = 2**28
_OPEN_FILES = 100


class LevelDBReader:
    """Reads a LevelDB; see `caffe_spn.data.db.Database`.

    Parameters
    ----------
    source : str
        The folder. LevelDB writes its log there even when it only reads.
    """

    def __init__(self, source: str):
        self.source = source
        self._plyvel = _plyvel()
        self._count: int | None = None
        with self._opened():
            pass  # so that what is wrong with it is known at once

    def __len__(self) -> int:
        if self._count is None:
            self._count = sum(1 for _ in self._walk(include_value=False))
        return self._count

    def records(self, start: int = 0) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values in order, from record number `start` to the end."""
        if start:
            keys = self._walk(include_value=False)
            first = next(itertools.islice(keys, start, None), None)
            if first is None:
                return
            yield from self._walk(start=first)
        else:
            yield from self._walk()

    def _walk(self, **options) -> Iterator:
        last = None
        options |= {"verify_checksums": True, "fill_cache": False}
        try:
            with self._opened() as db, db.iterator(**options) as records:
                for record in records:
                    last = record
                    yield record
        except self._plyvel.Error as error:
            key = last[0] if isinstance(last, tuple) else last
            behind = "" if key is None else f" behind the key '{key_text(key)}'"
            raise self._error(f"the LevelDB cannot be read{behind}: {error}") from error

    @contextlib.contextmanager
    def _opened(self) -> Iterator:
        """The database, which is open meanwhile."""
        path = os.path.realpath(self.source)
        with _open_lock:
            db, readers = _open.get(path) or (self._open(path), 0)
            _open[path] = db, readers + 1
        try:
            yield db
        finally:
            with _open_lock:
                db, readers = _open.pop(path)
                if readers > 1:
                    _open[path] = db, readers - 1
                else:
                    db.close()

    def _open(self, path: str):
        try:
            return self._plyvel.DB(
                path, create_if_missing=False, paranoid_checks=True, max_open_files=_OPEN_FILES
            )
        except self._plyvel.Error as error:
            if "lock" in str(error).lower():
                raise DataError(
                    f"the LevelDB is open in another process: {error}",
                    where=self.source,
                    help="LevelDB serves one process at a time; end the other one, copy the"
                    " database, or use LMDB",
                ) from error
            raise self._error(f"the LevelDB cannot be opened: {error}") from error

    def _error(self, message: str) -> DataError:
        writable = os.access(self.source, os.W_OK)
        return DataError(
            message,
            where=self.source,
            help="copy it again from where it came, or write it anew"
            if writable
            else "LevelDB writes into the folder even to read; copy it to a place that can be"
            " written",
        )


class LevelDBStore:
    """Writes records into the LevelDB of a new folder; see `LmdbStore`."""

    def __init__(self, folder: str):
        plyvel = _plyvel()
        self.errors = (plyvel.Error,)
        self._db = plyvel.DB(
            folder,
            create_if_missing=True,
            error_if_exists=True,
            block_size=_BLOCK_SIZE,
            write_buffer_size=_WRITE_BUFFER,
            max_open_files=_OPEN_FILES,
        )

    def write(self, records: list[tuple[bytes, bytes]]) -> None:
        """Write some records, all or none."""
        with self._db.write_batch() as batch:
            for key, value in records:
                batch.put(key, value)

    def close(self) -> None:
        self._db.close()


def _plyvel():
    try:
        import plyvel
    except ImportError as error:
        raise DataError(
            "LevelDB needs the package plyvel",
            help="pip install 'caffe_spn[leveldb]'; or convert the database to LMDB where Caffe is",
        ) from error
    return plyvel
