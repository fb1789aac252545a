"""Data: batches of datums from an LMDB or a LevelDB.

Source: `DataLayer` of BVLC Caffe.
"""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np

from caffe_spn.data.batch_layer import BatchLayer
from caffe_spn.data.db import Database, open_db
from caffe_spn.data.db_source import DatumSource, first_record, parse_datum, place
from caffe_spn.data.transformer import DataTransformer
from caffe_spn.layer import register
from caffe_spn.proto import caffe_pb2


@register("Data", bottoms=(), tops=("data", "label?"))
class Data(BatchLayer):
    """top = (pixel - mean) * scale of the datums of a database, in the order of their keys

    After the last record comes the first one again. Datums may hold pixels, floats, or the bytes of
    an image file; those are decoded as OpenCV does it, into blue, green, red.

    Parameters (`data_param`)
    -------------------------
    source : str
        The database's folder.
    batch_size : int
        Must be positive.
    backend : {LEVELDB, LMDB}, default LEVELDB
        What the database is.
    rand_skip : int, default 0
        Leave out up to this many records at the start (fewer than that, drawn at random).
    prefetch : int, default 4
        Batches that a thread prepares ahead; 0 for no thread.
    force_encoded_color : bool, default false
        Older name of transform_param's `force_color`.
    scale, mean_file, crop_size, mirror : refused
        In the old ``layers { type: DATA }`` they are moved to `transform_param`; in a current
        definition Caffe would ignore them.
    transform_param : TransformationParameter
        mean_file or mean_value, scale, crop_size (at random in training, the centre in testing),
        mirror (every other image, by chance), and how to decode image files: force_color to three
        channels, force_gray to one.

    Tops
    ----
    data : (batch_size, C, H, W)
        C, H and W are those of the first datum of the batch, H and W crop_size where it is set.
    label : (batch_size)
        May be left out.

    Raises
    ------
    PrototxtError
        If a parameter is missing or belongs to an old definition, or two contradict each other.
    DataError
        If the database is missing, empty, damaged or of the other kind, or a record is not a datum,
        cannot be decoded, or is of another size than the rest of its batch; the error names
        source and key.

    Notes
    -----
    A snapshot keeps the place in the database: a resumed training goes on with the record that
    would have come next.

    Examples
    --------
    ::

        layer {
          name: "data" type: "Data" top: "data" top: "label"
          data_param { source: "train_lmdb" backend: LMDB batch_size: 64 }
          transform_param {
            mean_value: 104 mean_value: 117 mean_value: 123 crop_size: 227 mirror: true
          }
        }
    """

    def setup(self, bottom, top):
        param = self.layer_param.data_param
        self.refuse_old_fields("data_param")
        if not param.source:
            raise self.param_error(
                "has no source", help='data_param { source: "train_lmdb" backend: LMDB }'
            )
        if param.batch_size < 1:
            raise self.param_error("batch_size is 0; it must be at least 1")
        transform = caffe_pb2.TransformationParameter()
        transform.CopyFrom(self.layer_param.transform_param)
        transform.force_color |= param.force_encoded_color
        transformer = DataTransformer(transform, self.phase, self.where)
        db = open_db(param.source, caffe_pb2.DataParameter.DB.Name(param.backend))
        self._shape_tops(db, transformer, param.batch_size, top)
        produce = partial(_producer, db, transformer, param.batch_size, param.rand_skip)
        self.start(produce, param.prefetch)

    def _shape_tops(self, db: Database, transformer: DataTransformer, batch_size: int, top):
        """As in Caffe, the first record gives the shape, wherever the reading then starts."""
        key, value = first_record(db)
        datum = parse_datum(db, key, value)
        image = DatumSource(db, transformer, batch_size).image(key, datum)
        # A crop or a mean that does not fit is an error at once, not in a thread.
        values = transformer.transform(image, np.random.default_rng(0), place(db, key))
        if not datum.encoded and (transformer.force_color or transformer.force_gray):
            warnings.warn(
                f"{self.where}: force_color and force_gray are for datums that hold an image file;"
                f" those of {db.source} hold pixels, which stay as they are, as in Caffe",
                stacklevel=2,
            )
        top[0].reshape(batch_size, *values.shape)
        if len(top) > 1:
            top[1].reshape(batch_size)


def _producer(
    db: Database, transformer: DataTransformer, batch_size: int, rand_skip: int, seed: int
):
    skip = int(np.random.default_rng([seed, 0, 2]).integers(rand_skip)) if rand_skip else 0
    return DatumSource(db, transformer, batch_size, skip, seed).batch
