"""LMDB: read page by page, written through the package `lmdb`."""

from __future__ import annotations

import os
from collections.abc import Iterator

from caffe_spn.data.db_keys import key_text
from caffe_spn.data.lmdb_pages import DamagedError, PageFile
from caffe_spn.errors import DataError

# The first size of the map when writing; it doubles when it is full. The file itself is no larger
# than its content.
_MAP_SIZE = 2**30


class LmdbReader:
    """Reads an LMDB; see `caffe_spn.data.db.Database`.

    No lock is taken, so that a database on a read-only disk can be read; it must not be written
    at the same time.

    Parameters
    ----------
    source : str
        The folder.
    """

    def __init__(self, source: str):
        self.source = source
        self._path = os.path.join(source, "data.mdb")
        pages = self._open()
        self._entries = pages.entries
        pages.close()

    def __len__(self) -> int:
        return self._entries

    def records(self, start: int = 0) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values in order, from record number `start` to the end."""
        pages, key, passed = self._open(), None, 0
        try:
            for leaf in pages.leaves():
                for index in range(max(start - passed, 0), len(leaf.offsets)):
                    record = pages.record(leaf, index)
                    key = record[0]
                    yield record
                passed += len(leaf.offsets)
            if passed != self._entries:
                raise DamagedError(f"{passed} of its {self._entries} records are there")
        except (DamagedError, OSError) as error:
            raise self._damaged(error, key) from error
        finally:
            pages.close()

    def _open(self) -> PageFile:
        try:
            return PageFile(self._path)
        except (DamagedError, OSError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception, key: bytes | None = None) -> DataError:
        behind = "" if key is None else f" behind the key '{key_text(key)}'"
        return DataError(
            f"the LMDB cannot be read{behind}: {error}",
            where=self.source,
            help="copy it again from where it came, or write it anew; `mdb_stat` and `mdb_copy`"
            " of LMDB look at it independently",
        )


class LmdbStore:
    """Writes records into the LMDB of a new folder.

    Attributes
    ----------
    errors : tuple of exception types
        What goes wrong while writing.
    """

    def __init__(self, folder: str):
        try:
            import lmdb
        except ImportError as error:
            raise DataError(
                "writing an LMDB needs the package lmdb", help="pip install 'caffe_spn[lmdb]'"
            ) from error
        self._lmdb = lmdb
        self.errors = (lmdb.Error,)
        self._folder = folder
        # One sync, at the end, is enough: until then the folder is nobody's database.
        self._env = lmdb.open(folder, map_size=_MAP_SIZE, sync=False)

    def write(self, records: list[tuple[bytes, bytes]]) -> None:
        """Write some records, all or none."""
        while True:
            try:
                with self._env.begin(write=True) as transaction:
                    for key, value in records:
                        self._put(transaction, key, value)
                return
            except self._lmdb.MapFullError:
                self._env.set_mapsize(2 * self._env.info()["map_size"])

    def _put(self, transaction, key: bytes, value: bytes) -> None:
        try:
            transaction.put(key, value)
        except self._lmdb.BadValsizeError as error:
            limit = self._env.max_key_size()
            raise DataError(
                f"the key '{key_text(key)}' has {len(key)} bytes; LMDB takes 1 to {limit}",
                where=self._folder,
                help="shorter paths in the list make shorter keys",
            ) from error

    def close(self) -> None:
        self._env.sync(True)
        self._env.close()
