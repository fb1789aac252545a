"""Net: a network that reads its definition, runs forward and backward, and keeps its weights.

Source: `Net` of BVLC Caffe; the methods that run it are in `caffe_spn.running_net`, those that
pycaffe adds in `caffe_spn.pycaffe_net`.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from caffe_spn.debug_info import DebugInfo
from caffe_spn.errors import CaffeSpnError, DeviceError, PrototxtError
from caffe_spn.gpu_passes import GraphedPass
from caffe_spn.gpu_room import advise
from caffe_spn.gpu_zero import ZeroDiffs
from caffe_spn.graph.filter import filter_net
from caffe_spn.graph.splits import insert_splits
from caffe_spn.graph.upgrade import upgrade
from caffe_spn.layer_errors import say_layer
from caffe_spn.net_builder import NetBuilder, at_layer
from caffe_spn.proto import caffe_pb2, text
from caffe_spn.proto.fields import copy_into
from caffe_spn.pycaffe_net import PycaffeNet
from caffe_spn.running_net import RunningNet
from caffe_spn.training_log import logger
from caffe_spn.vectors import BlobVec, BoolVec, DtypeVec, IntVec, RawBlobVec, StringVec
from caffe_spn.weighted_loss import WeightedLoss

TRAIN, TEST = 0, 1


class Net(PycaffeNet, RunningNet):
    """A network of layers and blobs.

    Parameters
    ----------
    network_file : str, path or NetParameter
        The definition; a file is read as prototxt.
    phase : int
        `TRAIN` or `TEST`. The older order ``Net(network_file, weights, phase)`` works too.
    level : int, default 0
        For `min_level` and `max_level` rules.
    stages : sequence of str, optional
        Added to the stages in the definition's state.
    weights : str or path, optional
        A .caffemodel or .caffemodel.h5 to copy parameters from, by layer name.
    allow_python : bool, default True
        False refuses layers of type Python: they are code that the definition names.
    dtype : numpy dtype, default float32
        float64 is for checking gradients.
    problems : list, optional
        Collects all errors of the definition instead of raising the first.
    source : str, optional
        The file that a NetParameter was read from, so that errors can say file and line.

    Attributes
    ----------
    layers, layer_names, layer_params
        The layers in order, with the splits that were inserted; their names and definitions.
    blob_names
        The names of all blobs, in order.
    bottom_vecs, top_vecs, bottom_id_vecs, top_id_vecs
        The blobs of each layer, and their numbers.
    layer_need_backward, bottom_need_backward
        What the backward pass computes.
    learnable_params, params_lr, params_weight_decay
        The parameters that are trained, shared ones once, and their multipliers.

    Raises
    ------
    PrototxtError, ShapeError
        With file, line and layer, if the definition cannot be built.
    WeightsError
        If the weights cannot be read or do not fit; all misfits are listed.

    Notes
    -----
    Reading is a pipeline of pure functions: upgrade from older forms, filter by phase, level
    and stages, insert splits; then layers are created in order.
    """

    def __init__(
        self,
        network_file,
        phase,
        level=0,
        stages: Sequence[str] | None = None,
        weights=None,
        allow_python: bool = True,
        dtype=np.float32,
        problems: list[CaffeSpnError] | None = None,
        source: str | None = None,
    ):
        if isinstance(phase, (str, os.PathLike)):
            phase, weights, level = level, phase, 0
            logger.warning("Net(file, weights, phase) is deprecated: Net(file, phase, weights=...)")
        self._source = source
        network = network_file
        if isinstance(network_file, (str, os.PathLike)):
            self._source = os.fspath(network_file)
            network = text.read(self._source, caffe_pb2.NetParameter)
        definition = self._state_definition(network, phase, level, stages)
        try:
            param = insert_splits(filter_net(definition))
        except PrototxtError as error:
            if problems is None:
                raise self._at_source(error) from error
            problems.append(self._at_source(error))
            param = filter_net(definition)
        builder = NetBuilder(param, phase, dtype, self._place, allow_python, problems).build()
        self._take(builder)
        if weights is not None:
            self.copy_trained_from(weights)

    @staticmethod
    def _state_definition(network, phase: int, level: int, stages):
        dropped: list[str] = []
        param, _ = upgrade(network, dropped)
        if dropped:
            warnings.warn(
                "the definition has fields of an older generation that mean nothing any more;"
                f" they were dropped: {'; '.join(dropped)}",
                stacklevel=4,
            )
        param.state.phase = phase
        param.state.level = level
        param.state.stage.extend(stages or ())
        return param

    def _take(self, builder: NetBuilder) -> None:
        self.name = builder.param.name
        self.phase = builder.phase
        self.layers = builder.layers
        self.learnable_params = builder.learnable_params
        self.params_lr = [1.0 if lr is None else lr for lr in builder.params_lr]
        self.params_weight_decay = [1.0 if d is None else d for d in builder.params_weight_decay]
        self.layer_params = builder.layer_params
        self.layer_names = StringVec(p.name for p in builder.layer_params)
        self.blob_names = StringVec(builder.blob_names)
        self.bottom_id_vecs = [IntVec(ids) for ids in builder.bottom_ids]
        self.top_id_vecs = [IntVec(ids) for ids in builder.top_ids]
        self.bottom_vecs, self.top_vecs = (
            [RawBlobVec(builder.blobs[i] for i in ids) for ids in all_ids]
            for all_ids in (self.bottom_id_vecs, self.top_id_vecs)
        )
        self.layer_need_backward = BoolVec(builder.layer_need_backward)
        self.bottom_need_backward = [BoolVec(needs) for needs in builder.bottom_need_backward]
        self._blobs = BlobVec(builder.blobs)
        self._inputs = IntVec(builder.input_ids)
        self._outputs = IntVec(builder.output_ids)
        self._blob_loss_weights = DtypeVec(builder.blob_loss_weights)
        self._loss = WeightedLoss()
        self._zero_diffs = ZeroDiffs(self.learnable_params)
        self._forward_graph = GraphedPass("forward_gpu")
        self._backward_graph = GraphedPass("backward_gpu")
        self._callbacks = {"before_forward": [], "after_forward": []}
        self._callbacks |= {"before_backward": [], "after_backward": []}
        if builder.param.debug_info:
            DebugInfo(self).enabled = True

    def close(self) -> None:
        """Stop what layers run in the background, such as prefetching."""
        for layer in getattr(self, "layers", ()):
            close = getattr(layer, "close", None)
            if close is not None:
                close()

    def __del__(self):
        self.close()

    # Weights

    def to_proto(self, write_diff: bool = False):
        """The definition as it was built, with the parameters: what a .caffemodel holds."""
        from caffe_spn.proto.blobs import array_to_blob_proto

        param = caffe_pb2.NetParameter(name=self.name)
        for layer, layer_param in zip(self.layers, self.layer_params, strict=True):
            copy = copy_into(param.layer.add(), layer_param)
            del copy.blobs[:]
            for blob in layer.blobs:
                diff = blob.cpu_diff if write_diff else None
                array_to_blob_proto(blob.cpu_data, diff, out=copy.blobs.add())
        return param

    def copy_trained_from(self, weights) -> None:
        """Copy parameters by layer name from a weights file, a NetParameter or a dict.

        Layers that the file lacks keep their values, layers that the net lacks are skipped.

        Raises
        ------
        WeightsError
            Listing every parameter whose shape or number differs; nothing is copied then.
        """
        from caffe_spn import weights_io

        weights_io.load(self, weights)

    def share_trained_layers_with(self, other: Net) -> None:
        """Use the parameters of the layers of equal name in `other`, in the same memory.

        Raises
        ------
        WeightsError
            Listing every parameter whose shape or number differs; nothing is shared then.
        """
        from caffe_spn import weight_sharing

        weight_sharing.share(self, other)

    # Places for errors

    def _place(self, layer_param) -> str | None:
        if self._source is None:
            return None
        try:
            content = Path(self._source).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return self._source
        line = text.locate_layer(content, layer_param)
        return self._source if line is None else f"{self._source}:{line}"

    def _at_source(self, error: CaffeSpnError) -> CaffeSpnError:
        if self._source is None:
            return error
        return type(error)(error.message, f"{self._source}: {error.where}", error.help)

    def _say_layer(self, error: Exception, index: int) -> None:
        if isinstance(error, DeviceError):
            advise(error, self)
        if isinstance(error, CaffeSpnError):
            raise at_layer(error, self.layer_params[index], self._place) from error
        say_layer(error, self.layer_params[index], self._place)
