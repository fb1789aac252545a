"""Coarse probability maps in files: NAME.npy, .npz, .h5 or .mat beside a segmentation set."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable

import numpy as np

from caffe_spn.errors import DataError

# Names that say which of several arrays in a file is the map.
KNOWN_NAMES = ("coarse", "prob", "probabilities", "score", "data")
# Values of the largest map that is read; a small file can claim any size.
MAX_VALUES = 2**28


class CoarseFolder:
    """The coarse maps of a set, one file an image.

    Parameters
    ----------
    folder : path
    num_classes : int
        What every map must have.

    Raises
    ------
    DataError
        If the folder is missing.
    """

    def __init__(self, folder: str | os.PathLike, num_classes: int):
        self.folder = os.fspath(folder)
        self.num_classes = num_classes
        if not os.path.isdir(self.folder):
            raise DataError("no such folder, so no coarse maps", where=self.folder)

    def path(self, name: str) -> str:
        """The file of image `name`; raises DataError when there is none."""
        for suffix in READERS:
            path = os.path.join(self.folder, name + suffix)
            if os.path.isfile(path):
                return path
        raise DataError(
            f"'{name}' has no coarse map",
            where=self.folder,
            help=f"looked for {name} with {', '.join(READERS)}",
        )

    def read(self, name: str) -> np.ndarray:
        """The map of image `name`, (K, h, w) float32."""
        return read_coarse(self.path(name), self.num_classes)


def read_coarse(path: str | os.PathLike, num_classes: int | None = None) -> np.ndarray:
    """Read one coarse probability map.

    Parameters
    ----------
    path : path
        .npy, .npz, .h5 or .hdf5, or .mat (of any version). With several arrays in the file, the
        one called coarse, prob, probabilities, score or data is taken.
    num_classes : int, optional
        Checked when given. It also tells a .mat file's (h, w, K), MATLAB's custom, from (K, h, w).

    Returns
    -------
    array of float32, (K, h, w)
        Values of uint8 are divided by 255.

    Raises
    ------
    DataError
        If the file cannot be read, has no such array, or its values are not probabilities.
    """
    path = os.fspath(path)
    reader = READERS.get(os.path.splitext(path)[1].lower())
    if reader is None:
        raise DataError("is of an unknown kind", where=path, help=f"known: {', '.join(READERS)}")
    try:
        values = reader(path)
    except DataError:
        raise
    except Exception as error:  # four libraries, each with its own family of errors
        raise DataError(f"cannot be read as a coarse map: {error}", where=path) from error
    if values.ndim == 3 and path.lower().endswith(".mat") and values.shape[0] != num_classes:
        if num_classes is None or values.shape[2] == num_classes:
            values = np.moveaxis(values, 2, 0)
    return _checked(values, num_classes, path)


def _checked(values: np.ndarray, num_classes: int | None, path: str) -> np.ndarray:
    if values.ndim != 3 or 0 in values.shape or values.dtype.kind not in "fiub":
        raise DataError(
            f"holds an array of shape {values.shape} and type {values.dtype};"
            " a coarse map has the shape (classes, height, width)",
            where=path,
        )
    if num_classes is not None and len(values) != num_classes:
        transposed = values.shape[2] == num_classes
        raise DataError(
            f"holds an array of shape {values.shape}, that is {len(values)} classes;"
            f" {num_classes} were expected",
            where=path,
            help="move the classes to the first axis" if transposed else None,
        )
    scale = 255 if values.dtype == np.uint8 else 1
    values = np.ascontiguousarray(values, np.float32) / np.float32(scale)
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= 1.001):
        raise DataError(
            f"has values from {low} to {high}; probabilities go from 0 to 1",
            where=path,
            help="apply the softmax before saving the map",
        )
    return values


def _read_npy(path: str) -> np.ndarray:
    # Mapped, so that the size in the header is held against the size of the file.
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _read_npz(path: str) -> np.ndarray:
    with zipfile.ZipFile(path) as archive:
        names = {n.removesuffix(".npy"): n for n in archive.namelist() if n.endswith(".npy")}
        entry = archive.getinfo(names[_pick(names, path)])
        _check_count(entry.file_size // 8, path)
        return np.load(io.BytesIO(archive.read(entry)), allow_pickle=False)


def _read_hdf5(path: str) -> np.ndarray:
    import h5py

    with h5py.File(path, "r") as file:
        names = [n for n, item in file.items() if isinstance(item, h5py.Dataset)]
        dataset = file[_pick(names, path)]
        _check_count(dataset.size, path)
        return dataset[()]


def _read_mat(path: str) -> np.ndarray:
    import h5py

    if h5py.is_hdf5(path):
        # Version 7.3 is HDF5, which sees MATLAB's axes in the opposite order.
        return _read_hdf5(path).transpose()
    from scipy.io import loadmat, whosmat

    sizes = {name: shape for name, shape, _ in whosmat(path)}
    name = _pick(sizes, path)
    _check_count(int(np.prod(sizes[name], dtype=object)), path)
    return loadmat(path, variable_names=[name])[name]


READERS: dict[str, Callable[[str], np.ndarray]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".h5": _read_hdf5,
    ".hdf5": _read_hdf5,
    ".mat": _read_mat,
}


def _pick(names, path: str) -> str:
    names = list(names)
    if len(names) == 1:
        return names[0]
    for known in KNOWN_NAMES:
        if known in names:
            return known
    found = f"arrays {', '.join(sorted(names))}" if names else "no array"
    raise DataError(
        f"holds {found}; which one is the coarse map?", where=path, help="call it 'coarse'"
    )


def _check_count(count: int, path: str) -> None:
    if count > MAX_VALUES:
        raise DataError(f"claims {count} values; at most {MAX_VALUES} are read", where=path)
