"""Weights between files and nets: .caffemodel and .caffemodel.h5 in, arrays by layer name out.

Reading and writing are functions between a file and ``{layer name: [arrays]}`` in the file's order;
`apply` then copies such a dict into a net, after all of it was found to fit.

Source: `Net::CopyTrainedLayersFrom` and `Net::ToHDF5` of BVLC Caffe, whose layouts these are.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
from google.protobuf.message import DecodeError

from caffe_spn.errors import CaffeSpnError, WeightsError
from caffe_spn.graph.upgrade import upgrade
from caffe_spn.proto import binary, caffe_pb2, wire
from caffe_spn.proto.blobs import LegacyArray, blob_proto_to_array, numbers_to_array
from caffe_spn.weights_h5 import read_h5, write_h5

__all__ = ["Weights", "apply", "read_caffemodel", "read_h5", "write_caffemodel", "write_h5"]

Weights = dict[str, list[np.ndarray | None]]


def read_caffemodel(source: str | os.PathLike | caffe_pb2.NetParameter) -> Weights:
    """Read the parameters of every layer of a .caffemodel of any generation.

    Parameters
    ----------
    source : str, path or NetParameter
        The file, or a message that was read from one.

    Returns
    -------
    dict of str to list of ndarray
        All layers in the file's order, also those without parameters. From a file the arrays are
        read-only views of its bytes, which stay in memory as long as any of them does. Arrays of
        the old four axes are `LegacyArray`.

    Raises
    ------
    WeightsError
        If the file cannot be read or is no NetParameter.
    """
    if isinstance(source, caffe_pb2.NetParameter):
        return _by_layer(source, blob_proto_to_array, None)
    name = os.fspath(source)
    data = binary.read_bytes(source)
    try:
        skeleton, numbers = wire.extract(data, wire.NET)
        net_param = caffe_pb2.NetParameter.FromString(skeleton)
        return _by_layer(net_param, lambda b: numbers_to_array(b, numbers[wire.index_of(b)]), name)
    except (wire.WireError, DecodeError, UnicodeDecodeError) as error:
        why = "" if isinstance(error, DecodeError) else f": {error}"
        raise binary.not_a_message(data, name, f"they are no NetParameter{why}") from None


def write_caffemodel(path: str | os.PathLike, net_param: caffe_pb2.NetParameter) -> None:
    """Write a net with its blobs as a .caffemodel, atomically.

    Raises
    ------
    WeightsError
        If the file cannot be written, or would be larger than 2 GB.
    """
    binary.write(path, net_param)


def apply(net, weights: Mapping[str, Sequence], strict_counts=True, where=None) -> None:
    """Copy weights into the layers of equal name; all of them, or none if anything does not fit.

    Parameters
    ----------
    net : Net
    weights : mapping of str to sequence of array
        Layers that the net lacks are skipped, layers that it has and `weights` lacks are kept.
    strict_counts : bool, default True
        A layer needs as many arrays as it has parameters (.caffemodel); False: those that it
        shares from another layer may be missing (HDF5).
    where : str, optional
        The file, for errors.

    Raises
    ------
    WeightsError
        Listing every layer that does not fit.
    """
    owned = {id(blob) for blob in net.learnable_params}
    layers = {}
    for name, layer in zip(net._layer_names, net.layers, strict=True):
        layers.setdefault(name, layer)
    misfits, copies = [], []
    for name, arrays in weights.items():
        if name not in layers:
            continue
        blobs = list(layers[name].blobs)
        misfit = _count_misfit(arrays, blobs, owned, strict_counts)
        if misfit:
            misfits.append(f"layer '{name}': {misfit}")
            continue
        for index, (blob, array) in enumerate(zip(blobs, arrays, strict=False)):
            if array is None:
                continue
            if not _fits(array, tuple(blob.shape)):
                found = f"param {index} is {_words(np.shape(array))} in the file"
                misfits.append(f"layer '{name}': {found}, {_words(blob.shape)} in the net")
            copies.append((blob, array))
    if misfits:
        raise WeightsError(
            "\n".join(misfits),
            where,
            "to learn such a layer from scratch, give it another name in the definition",
        )
    for blob, array in copies:
        blob.data[...] = np.reshape(array, blob.shape)


def _by_layer(net_param: caffe_pb2.NetParameter, to_array, where: str | None) -> Weights:
    weights: Weights = {}
    try:
        for layer in upgrade(net_param)[0].layer:
            # The library gives out bytes for a name that is not UTF-8.
            name = layer.name if isinstance(layer.name, str) else layer.name.decode("utf-8")
            # A name that comes twice counts where, and as, it comes last.
            weights.pop(name, None)
            weights[name] = [to_array(blob) for blob in layer.blobs]
    except CaffeSpnError as error:
        raise WeightsError(error.message, where or error.where, error.help) from error
    return weights


def _count_misfit(arrays: Sequence, blobs: list, owned: set[int], strict: bool) -> str | None:
    given = [array is not None for array in arrays]
    given += [False] * (len(blobs) - len(given))
    shared = [not strict and id(blob) not in owned for blob in blobs]
    if len(given) == len(blobs) and all(a or b for a, b in zip(given, shared, strict=True)):
        return None
    return f"{sum(given)} arrays in the file, {len(blobs)} parameters in the net"


def _fits(array: np.ndarray, shape: tuple[int, ...]) -> bool:
    if not isinstance(array, LegacyArray):
        return tuple(np.shape(array)) == shape
    return len(shape) <= 4 and (1,) * (4 - len(shape)) + shape == array.shape


def _words(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "a scalar"
