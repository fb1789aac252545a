"""Rows of HDF5 files, as the HDF5Data layer reads them.

Source: `HDF5DataLayer` of BVLC Caffe and its `hdf5_load_nd_dataset`.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

import numpy as np

from caffe_spn.errors import DataError

# Deflate shrinks at most about this much; a file that claims more holds less than it says.
_MAX_COMPRESSION = 1100


@dataclass(frozen=True)
class FileInfo:
    """One file of the list: its rows, and the shape of a row for each dataset."""

    path: str
    rows: int
    row_shapes: tuple[tuple[int, ...], ...]


class Hdf5Source:
    """Batches of rows from the files of a list, in order or shuffled.

    Batch k depends on the files, the seed and k alone. With `shuffle`, each pass over the data
    takes the files in a new order, and the rows of each file in a new order, as Caffe does.

    Parameters
    ----------
    list_path : path
        A text file with one HDF5 file after the other, separated by white space.
    names : sequence of str
        The datasets to read; their first axis counts the rows.
    batch_size : int
        A batch may straddle files.
    shuffle : bool
    seed : int

    Attributes
    ----------
    row_shapes : tuple of shapes
        Of one row of each dataset.

    Raises
    ------
    DataError
        If the list or a file is missing or empty, or the datasets are not as they should be.
    """

    def __init__(self, list_path, names, batch_size: int, shuffle: bool = False, seed: int = 0):
        self.names = tuple(names)
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.files = [inspect_file(path, self.names) for path in read_list(list_path)]
        self.row_shapes = self.files[0].row_shapes
        for info in self.files[1:]:
            if info.row_shapes != self.row_shapes:
                raise DataError(
                    f"has rows of shape {_by_name(self.names, info.row_shapes)}; those of"
                    f" {self.files[0].path} are {_by_name(self.names, self.row_shapes)}",
                    where=info.path,
                )
        self.rows = sum(info.rows for info in self.files)
        self._order: tuple[int, np.ndarray, np.ndarray] | None = None
        self._loaded: tuple[int, list[np.ndarray]] | None = None
        self._row_order: tuple[tuple[int, int], np.ndarray] | None = None

    def batch(self, index: int) -> list[np.ndarray]:
        """Batch number `index`, one array (batch_size, ...) for each dataset."""
        out = [np.empty((self.batch_size, *shape), np.float32) for shape in self.row_shapes]
        done = 0
        while done < self.batch_size:
            epoch, row = divmod(index * self.batch_size + done, self.rows)
            files, ends = self._files_of(epoch)
            place = int(np.searchsorted(ends, row, side="right"))
            number = int(files[place])
            count = min(self.batch_size - done, int(ends[place]) - row)
            first = row - int(ends[place]) + self.files[number].rows
            rows = self._rows_of(epoch, number)[first : first + count]
            for values, dataset in zip(out, self._load(number), strict=True):
                values[done : done + count] = dataset[rows]
            done += count
        return out

    def _files_of(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The order of the files in an epoch, and the number of the row after each."""
        if self._order is None or self._order[0] != epoch:
            files = np.arange(len(self.files))
            if self.shuffle:
                files = np.random.default_rng([self.seed, epoch]).permutation(files)
            self._order = (epoch, files, np.cumsum([self.files[n].rows for n in files]))
        return self._order[1:]

    def _rows_of(self, epoch: int, number: int) -> np.ndarray:
        key = (epoch if self.shuffle else 0, number)
        if self._row_order is None or self._row_order[0] != key:
            rows = np.arange(self.files[number].rows)
            if self.shuffle:
                rows = np.random.default_rng([self.seed, epoch, number]).permutation(rows)
            self._row_order = (key, rows)
        return self._row_order[1]

    def _load(self, number: int) -> list[np.ndarray]:
        if self._loaded is None or self._loaded[0] != number:
            self._loaded = None  # so that two files are never held at once
            self._loaded = (number, _load_file(self.files[number].path, self.names))
        return self._loaded[1]


def read_list(list_path: str | os.PathLike) -> list[str]:
    """The files named in a list; raises DataError when there are none."""
    list_path = os.fspath(list_path)
    if not os.path.isfile(list_path):
        raise DataError(
            "no such list of HDF5 files",
            where=list_path,
            help="source names a text file with one HDF5 file a line, not the HDF5 file itself",
        )
    with open(list_path, "rb") as stream:
        content = stream.read()
    if content.startswith(b"\x89HDF"):
        raise DataError(
            "is an HDF5 file; source must be a list of HDF5 files",
            where=list_path,
            help="write its name into a text file and give that as source",
        )
    paths = content.decode("utf-8", errors="replace").split()
    if not paths:
        raise DataError("the list of HDF5 files is empty", where=list_path)
    return paths


def inspect_file(path: str, names: tuple[str, ...]) -> FileInfo:
    """Look at a file's datasets without reading their values.

    Raises
    ------
    DataError
        If the file is missing or broken, lacks a dataset (the error names those it has), a
        dataset is not numeric or has no rows, or numbers of rows differ.
    """
    if not os.path.isfile(path):
        raise DataError(
            "no such HDF5 file",
            where=path,
            help="relative paths start at the current directory, " + os.getcwd(),
        )
    with _opened(path) as file:
        shapes = [_checked_shape(file, name, path) for name in names]
    counts = {shape[0] for shape in shapes}
    if len(counts) > 1:
        found = ", ".join(f"{n} {s[0]}" for n, s in zip(names, shapes, strict=True))
        raise DataError(f"its datasets have different numbers of rows: {found}", where=path)
    return FileInfo(path, shapes[0][0], tuple(shape[1:] for shape in shapes))


def _checked_shape(file, name: str, path: str) -> tuple[int, ...]:
    import h5py

    dataset = file.get(name)
    if not isinstance(dataset, h5py.Dataset):
        present = sorted(n for n, item in file.items() if isinstance(item, h5py.Dataset))
        raise DataError(
            f"has no dataset '{name}'; it has {', '.join(present) or 'none'}",
            where=path,
            help="the layer's tops are the names of the datasets",
        )
    if dataset.dtype.kind not in "fiu" or not dataset.shape:
        raise DataError(
            f"dataset '{name}' is {dataset.dtype} of shape {dataset.shape};"
            " it must be numbers with one row for each item",
            where=path,
        )
    if dataset.shape[0] == 0:
        raise DataError(f"dataset '{name}' has no rows", where=path)
    if dataset.nbytes > _MAX_COMPRESSION * os.path.getsize(path):
        raise DataError(
            f"dataset '{name}' claims shape {dataset.shape}, {dataset.nbytes} bytes,"
            f" in a file of {os.path.getsize(path)} bytes",
            where=path,
        )
    return tuple(dataset.shape)


def _load_file(path: str, names: tuple[str, ...]) -> list[np.ndarray]:
    with _opened(path) as file:
        return [file[name].astype(np.float32)[()] for name in names]


@contextlib.contextmanager
def _opened(path: str):
    import h5py

    try:
        with h5py.File(path, "r") as file:
            yield file
    except DataError:
        raise
    except Exception as error:  # on a broken file the HDF5 library raises nearly anything
        raise DataError(f"is not a readable HDF5 file: {error}", where=path) from error


def _by_name(names, shapes) -> str:
    return ", ".join(f"{n} {s}" for n, s in zip(names, shapes, strict=True))
