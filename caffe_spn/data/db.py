"""Databases of records, keys and bytes in the order of the keys: LMDB and LevelDB.

Source: `db::DB`, `db::Cursor` and `db::Transaction` of BVLC Caffe.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from typing import Protocol

from caffe_spn.errors import DataError

LMDB, LEVELDB = "LMDB", "LEVELDB"

# A file that shows which kind of database a folder holds.
_MARKS = {"data.mdb": LMDB, "CURRENT": LEVELDB}

_DATABASE_FILE = re.compile(
    r"(data|lock)\.mdb|CURRENT|LOCK|LOG(\.old)?|MANIFEST-\d+|\d+\.(log|ldb|sst|dbtmp)"
)

# Records that are written in one go; Caffe's tools use the same number.
_COMMIT_RECORDS = 1000
_COMMIT_BYTES = 2**26


class Database(Protocol):
    """A database that was opened for reading."""

    source: str

    def __len__(self) -> int:
        """The number of records. LevelDB does not keep it, so it is counted by reading all."""

    def records(self, start: int = 0) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values in order, from record number `start` to the end.

        Raises
        ------
        DataError
            Where the database is damaged; it names the last key before that place.
        """


def open_db(source: str | os.PathLike, backend: str) -> Database:
    """Open a database for reading.

    Parameters
    ----------
    source : path
        The database's folder.
    backend : {"LMDB", "LEVELDB"}
        In capitals or not.

    Raises
    ------
    DataError
        If there is no database, or one of the other kind, or a damaged one.
    """
    source, backend = os.fspath(source), _known(backend)
    _check_kind(source, backend)
    if backend == LMDB:
        from caffe_spn.data.db_lmdb import LmdbReader

        return LmdbReader(source)
    from caffe_spn.data.db_leveldb import LevelDBReader

    return LevelDBReader(source)


def kind_of(folder: str | os.PathLike) -> str | None:
    """Which kind of database a folder holds; None if it holds none."""
    for name, kind in _MARKS.items():
        if os.path.isfile(os.path.join(folder, name)):
            return kind
    return None


class DatabaseWriter:
    """Writes a new database; a context manager.

    The records go to a folder beside it, ``TARGET.partial``, which gets its name when all is
    written. A writer that is killed or fails leaves no database that looks whole.

    Parameters
    ----------
    target : path
        The folder to make; it must not be there yet.
    backend : {"LMDB", "LEVELDB"}
        In capitals or not.

    Raises
    ------
    DataError
        If the target exists, or the package that writes this kind is missing.
    """

    def __init__(self, target: str | os.PathLike, backend: str):
        self.target = os.fspath(target).rstrip("/\\") or os.fspath(target)
        self.partial = self.target + ".partial"
        self.backend = _known(backend)
        self._pending: list[tuple[bytes, bytes]] = []
        self._bytes = 0

    def __enter__(self) -> DatabaseWriter:
        if os.path.lexists(self.target):
            raise DataError(
                "exists already; a database is only written anew",
                where=self.target,
                help="remove it first, or give another name",
            )
        self._remove_partial()
        os.makedirs(self.partial)
        try:
            self._store = _new_store(self.backend, self.partial)
        except BaseException:
            shutil.rmtree(self.partial)
            raise
        return self

    def put(self, key: bytes, value: bytes) -> None:
        """Add one record; a key that was there already gets the new value."""
        self._pending.append((key, value))
        self._bytes += len(value)
        if len(self._pending) >= _COMMIT_RECORDS or self._bytes >= _COMMIT_BYTES:
            self._commit()

    def __exit__(self, kind, error, trace) -> None:
        try:
            if kind is None:
                self._commit()
            self._call(self._store.close)
            if kind is None:
                os.rename(self.partial, self.target)
        finally:
            if os.path.isdir(self.partial):
                shutil.rmtree(self.partial, ignore_errors=True)

    def _commit(self) -> None:
        self._call(self._store.write, self._pending)
        self._pending, self._bytes = [], 0

    def _call(self, function, *arguments) -> None:
        try:
            function(*arguments)
        except self._store.errors as error:
            raise DataError(
                f"the database cannot be written: {error}",
                where=self.partial,
                help="is the disk full?",
            ) from error

    def _remove_partial(self) -> None:
        """What a killed writer left behind; never anything else."""
        if not os.path.lexists(self.partial):
            return
        is_folder = os.path.isdir(self.partial)
        if not is_folder or not all(map(_DATABASE_FILE.fullmatch, os.listdir(self.partial))):
            raise DataError(
                "is in the way: the database is written there until it is whole",
                where=self.partial,
                help="move it away",
            )
        shutil.rmtree(self.partial)


def _new_store(backend: str, folder: str):
    if backend == LMDB:
        from caffe_spn.data.db_lmdb import LmdbStore

        return LmdbStore(folder)
    from caffe_spn.data.db_leveldb import LevelDBStore

    return LevelDBStore(folder)


def _known(backend: str) -> str:
    if backend.upper() not in (LMDB, LEVELDB):
        raise DataError(f"unknown kind of database '{backend}'", help="it is lmdb or leveldb")
    return backend.upper()


def _check_kind(source: str, backend: str) -> None:
    if not os.path.exists(source):
        raise DataError(
            "no such database",
            where=source,
            help="relative paths start at the current directory, " + os.getcwd(),
        )
    if not os.path.isdir(source):
        folder = os.path.dirname(source) or "."
        raise DataError(
            f"is a file; {backend} is a folder of files",
            where=source,
            help=f"name the folder, {folder}" if os.path.basename(source) in _MARKS else None,
        )
    found = kind_of(source)
    if found is None:
        mark = next(name for name, kind in _MARKS.items() if kind == backend)
        raise DataError(
            f"holds no database (no file {mark})",
            where=source,
            help="was it copied as a whole? `caffe-spn convert_imageset` writes one",
        )
    if found != backend:
        raise DataError(
            f"is a database of the kind {found}, not {backend}",
            where=source,
            help=f"say backend: {found} (in data_param, or --backend for a command)",
        )
