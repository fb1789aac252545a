"""Turn a NetParameter into layers and blobs that are wired up: the first half of `Net`.

Source: `Net::Init` of BVLC Caffe (AppendTop, AppendBottom, AppendParam, and which layers take
part in the backward pass).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from caffe_spn.backward_plan import drop_idle_backward, force_backward
from caffe_spn.blob import Blob
from caffe_spn.errors import CaffeSpnError, PrototxtError
from caffe_spn.graph.splits import unknown_bottom
from caffe_spn.layer import Layer, create_layer
from caffe_spn.layer_errors import say_layer
from caffe_spn.learnable_params import LearnableParams
from caffe_spn.proto import caffe_pb2
from caffe_spn.unread_params import warn_of_unread
from caffe_spn.vectors import LayerVec, RawBlobVec

AUTOMATIC_TOP = "(automatic)"


def at_layer(error: CaffeSpnError, layer_param, place: Callable) -> CaffeSpnError:
    """The same error with the layer, and what `place` knows of its file and line, in front."""
    layer = f"layer '{layer_param.name}' ({layer_param.type})"
    where = error.where or layer
    if not where.startswith("layer '"):
        where = f"{layer}: {where}"
    found = place(layer_param)
    return type(error)(error.message, f"{found}: {where}" if found else where, error.help)


class NetBuilder:
    """Creates the layers of a network one after the other.

    Parameters
    ----------
    param : NetParameter
        Upgraded, filtered, with splits inserted.
    phase : int
        0 (TRAIN) or 1 (TEST); a layer may state another one.
    dtype : numpy dtype
    place : callable
        From a LayerParameter to ``file:line``, or None where that is not known.
    allow_python : bool
        Whether layers may be code that the definition names.
    problems : list, optional
        Collects errors instead of raising the first one; layers below a faulty one are
        left out, the rest is built.

    Attributes
    ----------
    layers, layer_params, bottom_ids, top_ids, blobs, blob_names, blob_loss_weights
        The network in the order of the definition; `bottom_ids` and `top_ids` index `blobs`.
    layer_need_backward, bottom_need_backward
        What the backward pass must compute.
    learnable_params, params_lr, params_weight_decay
        The parameters that are trained, shared ones once; None stands for "not stated".
    """

    def __init__(
        self,
        param,
        phase: int,
        dtype=np.float32,
        place: Callable[[object], str | None] = lambda layer_param: None,
        allow_python: bool = True,
        problems: list[CaffeSpnError] | None = None,
    ):
        self.param = param
        self.phase = phase
        self.dtype = dtype
        self.place = place
        self.allow_python = allow_python
        self.problems = problems
        self.layers = LayerVec()
        self.layer_params: list = []
        self.bottom_ids: list[list[int]] = []
        self.top_ids: list[list[int]] = []
        self.blobs: list[Blob] = []
        self.blob_names: list[str] = []
        self.blob_loss_weights: list[float] = []
        self.layer_need_backward: list[bool] = []
        self.bottom_need_backward: list[list[bool]] = []
        self._params = LearnableParams()
        self.learnable_params = self._params.blobs
        self.params_lr = self._params.lr
        self.params_weight_decay = self._params.weight_decay
        self._blob_need_backward: list[bool] = []
        self._blob_id: dict[str, int] = {}
        self._available: set[str] = set()

    def build(self) -> NetBuilder:
        """Create everything.

        Raises
        ------
        CaffeSpnError
            The first problem, with file, line and layer, unless `problems` collects them.
        """
        for layer_param in self.param.layer:
            try:
                self._add_layer(layer_param)
            except CaffeSpnError as error:
                located = at_layer(error, layer_param, self.place)
                if self.problems is None:
                    raise located from error
                if not self._follows_from_another(layer_param):
                    self.problems.append(located)
        drop_idle_backward(self)
        if self.param.force_backward:
            force_backward(self)
        for layer, needed in zip(self.layers, self.layer_need_backward, strict=True):
            layer.needs_backward = needed
        self._connect_neighbours()
        return self

    def _connect_neighbours(self) -> None:
        for i in range(1, len(self.layers)):
            if self.top_ids[i - 1][:1] == self.bottom_ids[i][:1] != []:
                self.layers[i].runs_behind(self.layers[i - 1])

    @property
    def input_ids(self) -> list[int]:
        return [
            top
            for layer, tops in zip(self.layers, self.top_ids, strict=True)
            if layer.type == "Input"
            for top in tops
        ]

    @property
    def output_ids(self) -> list[int]:
        """Blobs that no layer uses, in byte order of their names as in Caffe."""
        return [self._blob_id[name] for name in sorted(self._available, key=str.encode)]

    def _add_layer(self, source) -> None:
        layer_param = caffe_pb2.LayerParameter()
        layer_param.CopyFrom(source)
        if not layer_param.HasField("phase"):
            layer_param.phase = self.phase
        where = f"layer '{layer_param.name}' ({layer_param.type})"
        if layer_param.propagate_down and len(layer_param.propagate_down) != len(
            layer_param.bottom
        ):
            raise PrototxtError(
                f"has {len(layer_param.propagate_down)} propagate_down for"
                f" {len(layer_param.bottom)} bottoms",
                where=where,
                help="state propagate_down once for each bottom, or not at all",
            )
        if layer_param.type == "Python" and not self.allow_python:
            raise PrototxtError(
                f"names the Python class {layer_param.python_param.module}."
                f"{layer_param.python_param.layer}, and Python layers are refused here",
                where=where,
                help="allow them (allow_python=True, or leave out --no-python-layers) if you"
                " trust the file: a Python layer is code",
            )
        layer = create_layer(layer_param, dtype=self.dtype)
        # A user's class may read what it likes.
        if type(layer).__module__.startswith("caffe_spn."):
            warn_of_unread(layer_param, self.place)
        bottom_ids = [self._bottom(layer_param, j) for j in range(len(layer_param.bottom))]
        top_ids = [self._top(layer_param, j, where) for j in range(len(layer_param.top))]
        if layer.is_loss:
            while len(top_ids) < layer.tops.minimum:
                # Nobody can name this top, so it is no output of the net either.
                top_ids.append(self._new_blob(AUTOMATIC_TOP))
        self._set_up(layer, bottom_ids, top_ids)
        self._mark_backward(layer, bottom_ids, top_ids)
        for name in layer_param.bottom:
            self._available.discard(name)
        self._available.update(layer_param.top)
        self.layers.append(layer)
        self.layer_params.append(layer_param)
        self.bottom_ids.append(bottom_ids)
        self.top_ids.append(top_ids)

    def _bottom(self, layer_param, index: int) -> int:
        name = layer_param.bottom[index]
        taken_before = name in layer_param.bottom[:index]
        if name not in self._available or taken_before:
            raise unknown_bottom(layer_param, index, self._available)
        return self._blob_id[name]

    def _top(self, layer_param, index: int, where: str) -> int:
        name = layer_param.top[index]
        if index < len(layer_param.bottom) and layer_param.bottom[index] == name:
            return self._blob_id[name]
        if name in self._blob_id:
            raise PrototxtError(
                f"top '{name}' is made by another layer already",
                where=where,
                help="give it another name; to compute in place, name the bottom at the same"
                " position the same",
            )
        self._blob_id[name] = len(self.blobs)
        return self._new_blob(name)

    def _new_blob(self, name: str) -> int:
        self.blobs.append(Blob((), self.dtype))
        self.blob_names.append(name)
        self.blob_loss_weights.append(0.0)
        self._blob_need_backward.append(False)
        return len(self.blobs) - 1

    def _set_up(self, layer: Layer, bottom_ids, top_ids) -> None:
        bottom = RawBlobVec(self.blobs[i] for i in bottom_ids)
        top = RawBlobVec(self.blobs[i] for i in top_ids)
        layer.check_arity(bottom, top)
        try:
            layer.setup(bottom, top)
            layer.reshape(bottom, top)
        except CaffeSpnError:
            raise
        except Exception as error:
            say_layer(error, layer.layer_param, self.place)
            raise
        weights = list(layer.layer_param.loss_weight)
        if weights and len(weights) != len(top):
            raise layer.param_error(
                f"has {len(weights)} loss_weight for {len(top)} tops",
                help="state loss_weight once for each top, or not at all",
            )
        if layer.is_loss and not weights:
            weights = [1.0] + [0.0] * (len(top) - 1)
        layer.loss_weights = weights or [0.0] * len(top)
        for blob_id, blob, weight in zip(top_ids, top, layer.loss_weights, strict=True):
            self.blob_loss_weights[blob_id] = weight
            if weight:
                blob.diff.fill(weight)

    def _mark_backward(self, layer: Layer, bottom_ids, top_ids) -> None:
        param = layer.layer_param
        wanted = [self._blob_need_backward[i] for i in bottom_ids]
        need_backward = any(wanted)
        if param.propagate_down:
            wanted = list(param.propagate_down)
        if len(param.param) > len(layer.blobs):
            raise layer.param_error(
                f"has {len(param.param)} param entries, but {len(layer.blobs)} parameter blobs",
                help="remove the param entries that belong to nothing",
            )
        specs = [
            param.param[j] if j < len(param.param) else caffe_pb2.ParamSpec()
            for j in range(len(layer.blobs))
        ]
        layer.param_propagate_down = [spec.lr_mult != 0 for spec in specs]
        need_backward = need_backward or any(layer.param_propagate_down)
        for j, spec in enumerate(specs):
            self._params.add(layer, j, spec)
        self.layer_need_backward.append(need_backward)
        self.bottom_need_backward.append(wanted)
        if need_backward:
            for i in top_ids:
                self._blob_need_backward[i] = True

    def _follows_from_another(self, layer_param) -> bool:
        """Whether a collected error only says that a faulty layer's tops are missing."""
        return any(
            name not in self._available and any(name in p.top for p in self.param.layer)
            for name in layer_param.bottom
        )
