"""Weights between files and nets: .caffemodel and .caffemodel.h5 in, arrays by layer name out.

Reading and writing are functions between a file and ``{layer name: [arrays]}`` in the file's order;
`apply` then copies such a dict into a net, after all of it was found to fit.

Source: `Net::CopyTrainedLayersFrom` and `Net::ToHDF5` of BVLC Caffe, whose layouts these are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from google.protobuf.message import Message

from caffe_spn.errors import CaffeSpnError, WeightsError
from caffe_spn.proto import binary, caffe_pb2, wire
from caffe_spn.proto.blobs import (
    LegacyArray,
    blob_pieces,
    blob_proto_to_array,
    numbers_to_array,
)
from caffe_spn.weights_h5 import is_hdf5, read_h5, write_h5

__all__ = [
    "Weights",
    "apply",
    "load",
    "read_caffemodel",
    "read_h5",
    "write_caffemodel",
    "write_h5",
]

Weights = dict[str, list[np.ndarray | None]]

_LAYER = caffe_pb2.NetParameter.DESCRIPTOR.fields_by_name["layer"].number
_BLOBS = caffe_pb2.LayerParameter.DESCRIPTOR.fields_by_name["blobs"].number


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

    Notes
    -----
    The derivatives that a solver with `snapshot_diff` writes too are not read: they are those of
    one batch that is over. Caffe puts them into the net's diffs, where the next backward pass or
    `clear_param_diffs` ends them. ``blob_proto_to_array(blob, diff=True)`` reads them.
    """
    if isinstance(source, Message):
        return _by_layer(source, blob_proto_to_array, None)
    name = os.fspath(source)
    net_param, numbers = binary.read_split(source, caffe_pb2.NetParameter, wire.WEIGHTS)
    try:
        return _by_layer(net_param, lambda b: numbers_to_array(b, numbers[wire.index_of(b)]), name)
    except UnicodeDecodeError as error:
        raise WeightsError(f"the name of a layer is not UTF-8: {error}", name) from None


def write_caffemodel(path: str | os.PathLike, net, write_diff: bool = False) -> None:
    """Write a net with its blobs as a .caffemodel, atomically.

    Parameters
    ----------
    path : str or path
    net : Net or NetParameter
        A Net's parameters are written from where they are, without a copy.
    write_diff : bool, default False
        Write a Net's derivatives too.

    Raises
    ------
    WeightsError
        If the file cannot be written, or would be larger than 2 GB.
    """
    if isinstance(net, Message):
        binary.write(path, net)
    else:
        binary.write_pieces(path, _net_pieces(net, write_diff))


def _net_pieces(net, write_diff: bool) -> Iterator:
    yield caffe_pb2.NetParameter(name=net.name).SerializeToString()
    for layer, layer_param in zip(net.layers, net.layer_params, strict=True):
        before, after = _around_blobs(layer_param)
        blobs = []
        for blob in layer.blobs:
            blobs += blob_pieces(_BLOBS, blob.cpu_data, blob.cpu_diff if write_diff else None)
        size = len(before) + sum(len(piece) for piece in blobs) + len(after)
        yield from (wire.prefix(_LAYER, size), before, *blobs, after)


def _around_blobs(layer_param) -> tuple[bytes, bytes]:
    """The bytes of a layer that stand before and behind its blobs."""
    before, after = type(layer_param)(), type(layer_param)()
    before.CopyFrom(layer_param)
    after.CopyFrom(layer_param)
    for field, _ in layer_param.ListFields():
        if field.number >= _BLOBS:
            before.ClearField(field.name)
        if field.number <= _BLOBS:
            after.ClearField(field.name)
    before.DiscardUnknownFields()
    return before.SerializeToString(), after.SerializeToString()


def load(net, weights: str | os.PathLike | caffe_pb2.NetParameter | Mapping[str, Sequence]) -> None:
    """Copy parameters into a net from a file of either kind, a NetParameter or a dict.

    Raises
    ------
    WeightsError
        See `read_caffemodel`, `read_h5` and `apply`.
    """
    where = os.fspath(weights) if isinstance(weights, (str, os.PathLike)) else None
    if where is not None and is_hdf5(where):
        apply(net, read_h5(where), strict_counts=False, where=where)
    elif isinstance(weights, Mapping):
        apply(net, weights)
    else:
        apply(net, read_caffemodel(weights), where=where)


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
    for name, layer in zip(net.layer_names, net.layers, strict=True):
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
    if net_param.layer and net_param.layers:
        raise WeightsError("the net has both 'layer' and the old 'layers'", where)
    try:
        for layer in (*net_param.layer, *net_param.layers):
            # The first generation stands inside the second.
            if layer.DESCRIPTOR.name == "V1LayerParameter" and layer.HasField("layer"):
                layer = layer.layer
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
