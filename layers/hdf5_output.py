"""HDF5Output: writes two blobs into an HDF5 file.

Source: `HDF5OutputLayer` of BVLC Caffe.
"""

from __future__ import annotations

import os

import numpy as np

from caffe_spn.errors import CaffeSpnError, DataError
from caffe_spn.layer import Layer, register
from caffe_spn.proto.files import atomic_write

NAMES = ("data", "label")


def append_rows(file, name: str, rows: np.ndarray) -> None:
    """Append rows to a dataset of an open HDF5 file, or make it.

    The first rows lie in one piece, as Caffe writes them; a dataset can only grow in chunks.
    """
    old = file.get(name)
    if old is None:
        file.create_dataset(name, data=rows)
    elif old.chunks is None:
        values = np.concatenate([old[()], rows])
        del file[name]
        file.create_dataset(name, data=values, maxshape=(None, *rows.shape[1:]))
    else:
        old.resize(len(old) + len(rows), axis=0)
        old[-len(rows) :] = rows


@register("HDF5Output", bottoms=("data", "label"), tops=())
class HDF5Output(Layer):
    """Writes its bottoms as the float32 datasets `data` and `label`, with four axes each

    Parameters (`hdf5_output_param`)
    --------------------------------
    file_name : str
        The file to write. The first forward pass replaces what was there.

    Bottoms
    -------
    data, label : (N, ...)
        At most four axes; missing ones count as 1.

    Raises
    ------
    PrototxtError
        If there is no file_name.
    ShapeError
        If the bottoms have different N, or more than four axes, or another shape than what was
        written before.
    DataError
        If the file cannot be written.

    Notes
    -----
    After each forward pass the file is whole and closed. Later passes append their rows; BVLC Caffe
    ends with an error at the second one. A network that is only built writes nothing, where
    Caffe leaves an empty file.

    Examples
    --------
    ::

        layer {
          name: "features" type: "HDF5Output" bottom: "fc7" bottom: "label"
          hdf5_output_param { file_name: "features.h5" }
        }
    """

    def setup(self, bottom, top):
        self.file_name = self.layer_param.hdf5_output_param.file_name
        if not self.file_name:
            raise self.param_error(
                "has no file_name", help='hdf5_output_param { file_name: "features.h5" }'
            )
        folder = os.path.dirname(self.file_name)
        if folder and not os.path.isdir(folder):
            raise DataError("there is no folder to write it into", where=self.file_name)
        self._row_shapes: list[tuple[int, ...]] | None = None

    def reshape(self, bottom, top):
        for name, blob in zip(NAMES, bottom, strict=True):
            if len(blob.shape) > 4:
                raise self.shape_error(f"{name} has shape {blob.shape}; at most 4 axes are written")
        if bottom[0].num != bottom[1].num:
            raise self.shape_error(
                f"data has shape {bottom[0].shape} and label {bottom[1].shape};"
                " both must have as many rows"
            )

    def forward_cpu(self, bottom, top):
        rows = [blob.data.reshape(_four_axes(blob.shape)).astype(np.float32) for blob in bottom]
        shapes = [values.shape[1:] for values in rows]
        first = self._row_shapes is None
        if not first and shapes != self._row_shapes:
            raise self.shape_error(
                f"rows are {shapes}; those in {self.file_name} are {self._row_shapes}"
            )
        try:
            if first:
                with atomic_write(self.file_name) as temporary:
                    self._append(temporary, "w", rows)
            else:
                self._append(self.file_name, "r+", rows)
        except (OSError, CaffeSpnError) as error:
            raise DataError(f"cannot be written: {error}", where=self.file_name) from error
        self._row_shapes = shapes

    @staticmethod
    def _append(path: str, mode: str, rows: list[np.ndarray]) -> None:
        import h5py

        with h5py.File(path, mode) as file:
            for name, values in zip(NAMES, rows, strict=True):
                append_rows(file, name, values)

    def backward_cpu(self, top, propagate_down, bottom):
        """Nothing depends on what was written."""


def _four_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape, 1, 1, 1, 1)[:4]
