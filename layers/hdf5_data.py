"""HDF5Data: batches of rows from HDF5 files.

Source: `HDF5DataLayer` of BVLC Caffe.
"""

from __future__ import annotations

from copy import copy
from functools import partial

from caffe_spn.data.batch_layer import BatchLayer
from caffe_spn.data.hdf5_source import Hdf5Source
from caffe_spn.layer import register


@register("HDF5Data", bottoms=(), tops=("data+",))
class HDF5Data(BatchLayer):
    """Reads the datasets that have the names of its tops, row by row, and begins again at the end.

    Parameters (`hdf5_data_param`)
    ------------------------------
    source : str
        A text file that lists HDF5 files.
    batch_size : int
        Rows in a batch; a batch may straddle two files.
    shuffle : bool, default false
        Shuffle the files, and the rows inside each, anew in every pass.

    Tops
    ----
    data+ : (batch_size, ...)
        Each is a dataset of its name; the first axis of a dataset counts the rows.

    Raises
    ------
    PrototxtError
        If batch_size is missing, or the layer has a transform_param.
    DataError
        If a file or a dataset is missing or bad; it names the file and what is in it.

    Examples
    --------
    ::

        layer {
          name: "data" type: "HDF5Data" top: "data" top: "label"
          hdf5_data_param { source: "train_h5.txt" batch_size: 32 shuffle: true }
        }
    """

    def setup(self, bottom, top):
        if self.layer_param.HasField("transform_param"):
            raise self.param_error(
                "does not transform data", help="remove transform_param; scale the data themselves"
            )
        param = self.layer_param.hdf5_data_param
        if not param.batch_size:
            raise self.param_error("has no batch_size", help="hdf5_data_param { batch_size: 10 }")
        names = tuple(self.layer_param.top)
        source = Hdf5Source(param.source, names, param.batch_size)
        for blob, shape in zip(top, source.row_shapes, strict=True):
            blob.reshape(param.batch_size, *shape)
        self.start(partial(_producer, source, param.shuffle), prefetch=0)


def _producer(source: Hdf5Source, shuffle: bool, seed: int):
    source = copy(source)
    source.shuffle, source.seed = shuffle, seed
    return source.batch
