"""Batches of the datums in a database, as the Data layer reads them.

Source: `DataLayer` of BVLC Caffe.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from google.protobuf.message import DecodeError

from caffe_spn.data.db import Database
from caffe_spn.data.db_keys import key_text
from caffe_spn.data.transformer import DataTransformer
from caffe_spn.errors import DataError
from caffe_spn.proto import caffe_pb2

# Threads that decode image files; decoding lets other threads run. More than these would only
# take processors away from the network.
_DECODERS = min(4, os.cpu_count() or 1)

# Records over which it is quicker to read than to look for a place from the beginning.
_NEAR = 10000


class DatumSource:
    """Batches of transformed datums and their labels; after the last record comes the first.

    Batch k depends on the database, the options, the seed and k alone. Batches that are asked for
    in order read the database once; any other goes to its place from the beginning.

    Parameters
    ----------
    db : Database
    transformer : DataTransformer
    batch_size : int
    skip : int, default 0
        Leave out this many records at the start.
    seed : int, default 0
        Of crops and mirrors.
    """

    def __init__(
        self,
        db: Database,
        transformer: DataTransformer,
        batch_size: int,
        skip: int = 0,
        seed: int = 0,
    ):
        self.db = db
        self.transformer = transformer
        self.batch_size = batch_size
        self.skip = skip
        self.seed = seed
        self._records: Iterator[tuple[bytes, bytes]] = iter(())
        self._following: int | None = None
        self._pool: ThreadPoolExecutor | None = None

    def batch(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Batch number `index`: data (N, C, H, W) and labels (N), float32.

        Raises
        ------
        DataError
            If the database is damaged, or a record is no datum, cannot be decoded, or is of
            another size than the first of its batch; the error names source and key.
        """
        records = self._batch_records(index)
        first = parse_datum(self.db, *records[0])
        first_image = self.image(records[0][0], first)
        shape = self.transformer.shape(first_image)
        data = np.empty((self.batch_size, *shape), np.float32)
        labels = np.empty(self.batch_size, np.float32)

        def fill(number: int, datum=None, image=None) -> None:
            key, value = records[number]
            if datum is None:
                datum = parse_datum(self.db, key, value)
                image = self.image(key, datum)
            labels[number] = datum.label
            rng = np.random.default_rng([self.seed, index, number])
            self._transform(image, key, rng, data[number])

        fill(0, first, first_image)
        rest = range(1, self.batch_size)
        if first.encoded and rest:
            list(self._decoders().map(fill, rest))
        else:
            for number in rest:
                fill(number)
        return data, labels

    def _transform(self, image: np.ndarray, key: bytes, rng, out: np.ndarray) -> None:
        shape = self.transformer.shape(image)
        if shape != out.shape:
            raise DataError(
                f"is {shape} (channels, height, width); the first datum of its batch is"
                f" {out.shape}",
                where=place(self.db, key),
                help="set a crop_size, force_color or force_gray, or batch_size: 1; or resize"
                " when the database is made",
            )
        self.transformer.transform(image, rng, place(self.db, key), out)

    def image(self, key: bytes, datum) -> np.ndarray:
        """The pixels of a datum."""
        try:
            return self.transformer.datum_image(datum)
        except DataError as error:
            raise DataError(error.message, place(self.db, key), error.help) from error

    def _decoders(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_DECODERS, thread_name_prefix="caffe_spn decode")
        return self._pool

    def _batch_records(self, index: int) -> list[tuple[bytes, bytes]]:
        self._go_to(index)
        self._following = None  # should reading fail, the next batch finds its place again
        records = [self._next_record() for _ in range(self.batch_size)]
        self._following = index + 1
        return records

    def _go_to(self, index: int) -> None:
        if self._following is not None:
            # Where several solvers train together, each reads on to its own batches.
            between = (index - self._following) * self.batch_size
            if 0 <= between <= _NEAR:
                for _ in range(between):
                    self._next_record()
                return
        start = index * self.batch_size + self.skip
        self._records = self.db.records(start % len(self.db) if start else 0)

    def _next_record(self) -> tuple[bytes, bytes]:
        record = next(self._records, None)
        if record is None:
            self._records = self.db.records()
            record = next(self._records, None) or first_record(self.db)
        return record


def first_record(db: Database) -> tuple[bytes, bytes]:
    """The first key and value.

    Raises
    ------
    DataError
        If there is none.
    """
    for record in db.records():
        return record
    raise DataError(
        "the database is empty",
        where=db.source,
        help="was it written to the end? `caffe-spn convert_imageset` writes one",
    )


def parse_datum(db: Database, key: bytes, value: bytes):
    """The `Datum` in a record.

    Raises
    ------
    DataError
        If the record is something else.
    """
    datum = caffe_pb2.Datum()
    try:
        datum.ParseFromString(value)
    except DecodeError as error:
        raise DataError(
            f"its {len(value)} bytes are not a Datum",
            where=place(db, key),
            help="the record is damaged, or the database was written for something else",
        ) from error
    if not datum.data and not datum.float_data:
        raise DataError("is a datum without pixels", where=place(db, key))
    return datum


def place(db: Database, key: bytes) -> str:
    """A record's source and key, for errors."""
    return f"{db.source}: key '{key_text(key)}'"
