"""Weights in HDF5: .caffemodel.h5, in the layout of BVLC Caffe's `Net::ToHDF5`.

::

    /data/<layer name>/<parameter number>     float32; a group for every layer, empty or not
    /diff/<layer name>/<parameter number>     if asked for

A parameter that a layer shares with an earlier one is kept under its owner only.
"""

from __future__ import annotations

import contextlib
import os

import numpy as np

from caffe_spn.errors import WeightsError
from caffe_spn.proto.files import atomic_write

# Deflate, the strongest filter of HDF5, shrinks zeros 1032 times.
_MAX_COMPRESSION = 1100

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# How a .caffemodel begins: with its name, a layer of an old generation, or one of today's.
_NET_PARAMETER = (b"\x0a", b"\x12", b"\xa2\x06")


def is_hdf5(path: str | os.PathLike) -> bool:
    """Whether a file is HDF5, by its first bytes, or by its name where they do not tell."""
    start = b""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        start = file.read(8)
    if start == _SIGNATURE:
        return True
    return os.fspath(path).endswith(".h5") and not start.startswith(_NET_PARAMETER)


def read_h5(path: str | os.PathLike) -> dict[str, list[np.ndarray | None]]:
    """Read the parameters of every layer of a .caffemodel.h5.

    Returns
    -------
    dict of str to list of (ndarray or None)
        None stands for a parameter that is not there because another layer owns it.

    Raises
    ------
    WeightsError
        If the file is no HDF5 file, or is laid out otherwise.
    """
    import h5py

    name = os.fspath(path)
    if not os.path.isfile(name):
        raise WeightsError("there is no such file", name)
    try:
        with h5py.File(name, "r") as file:
            data = file.get("data")
            if not isinstance(data, h5py.Group):
                raise WeightsError(
                    f"it has no group /data, only {', '.join(file) or 'nothing'}",
                    name,
                    "weights are in PREFIX_iter_N.caffemodel.h5; .solverstate.h5 is for resuming",
                )
            return {layer: _arrays(data[layer], name) for layer in data}
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        if isinstance(error, WeightsError):
            raise
        size = os.path.getsize(name)
        raise WeightsError(
            f"its {size} bytes cannot be read as HDF5: {error}",
            name,
            "the file is damaged or was not copied to its end; get it again",
        ) from error


def write_h5(path: str | os.PathLike, net, write_diff: bool = False) -> None:
    """Write the parameters of a net, atomically.

    Parameters
    ----------
    path : str or path
    net : Net
    write_diff : bool, default False
        Write the derivatives too, those of shared parameters under each layer.

    Raises
    ------
    WeightsError
        If the file cannot be written, or a layer's name cannot be a name in HDF5.
    """
    import h5py

    names = list(net.layer_names)
    for layer in names:
        if "/" in layer or layer in ("", ".") or names.count(layer) > 1:
            raise WeightsError(
                f"HDF5 cannot hold a layer named '{layer}': names are unique and without '/'",
                os.fspath(path),
                "rename the layer, or save as .caffemodel",
            )
    owned = {id(blob) for blob in net.learnable_params}
    try:
        with atomic_write(path) as temporary, h5py.File(temporary, "w") as file:
            data = file.create_group("data")
            diff = file.create_group("diff") if write_diff else None
            for layer_name, layer in zip(names, net.layers, strict=True):
                data_group = data.create_group(layer_name)
                diff_group = diff.create_group(layer_name) if write_diff else None
                for index, blob in enumerate(layer.blobs):
                    if id(blob) in owned:
                        data_group[str(index)] = blob.cpu_data
                    if write_diff:
                        diff_group[str(index)] = blob.cpu_diff
    except WeightsError:
        raise
    except RuntimeError as error:
        # How h5py reports a disk that becomes full while a file is closed.
        raise WeightsError(f"the file cannot be written: {error}", os.fspath(path)) from error


def _arrays(group, name: str) -> list[np.ndarray | None]:
    import h5py

    if not isinstance(group, h5py.Group):
        raise WeightsError(f"{group.name} is not a group of parameters", name)
    arrays: list[np.ndarray | None] = []
    for key, dataset in sorted(group.items(), key=lambda item: (len(item[0]), item[0])):
        if not key.isdigit() or not isinstance(dataset, h5py.Dataset):
            raise WeightsError(f"{group.name} has '{key}'; parameters are named 0, 1, ...", name)
        if len(arrays) + 32 < int(key):
            raise WeightsError(f"{dataset.name} has no parameters before it", name)
        arrays.extend([None] * (int(key) - len(arrays)))
        arrays.append(read_array(dataset, name))
    return arrays


def read_array(dataset, name: str) -> np.ndarray:
    """The numbers of a dataset, refused when it claims more of them than the file can hold.

    Parameters
    ----------
    dataset : h5py.Dataset
    name : str
        The file, for errors.

    Raises
    ------
    WeightsError
    """
    if dataset.shape is None or dataset.dtype.kind not in "fiu":
        raise WeightsError(f"{dataset.name} holds no numbers, but {dataset.dtype}", name)
    stored = dataset.id.get_storage_size()
    if dataset.nbytes > stored * _MAX_COMPRESSION:
        shape = " x ".join(map(str, dataset.shape))
        raise WeightsError(f"{dataset.name} is {shape}, but only {stored} bytes are stored", name)
    return np.asarray(dataset[()], np.float64 if dataset.dtype == np.float64 else np.float32)
