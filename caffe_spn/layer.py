"""Layer: the contract that every layer keeps, and the registry that finds layers by type name.

Source: `Layer` and `LayerRegistry` of BVLC Caffe; the methods are those of a pycaffe Python layer.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np

from caffe_spn.blob import Blob
from caffe_spn.errors import PrototxtError, ShapeError
from caffe_spn.gpu_layer import GpuLayer
from caffe_spn.proto import caffe_pb2
from caffe_spn.proto.dialects import type_help
from caffe_spn.roles import Roles
from caffe_spn.vectors import BlobVec, StringVec

_registry: dict[str, Callable[..., Layer]] = {}


class Layer(GpuLayer):
    """Base of all layers, built in or written by a user for the `Python` layer.

    Subclasses define `setup`, `reshape`, and either `forward` and `backward` (a pycaffe Python
    layer) or `forward_cpu` and `backward_cpu` (a built-in layer), and `forward_gpu` and
    `backward_gpu` where they have a GPU path.

    Attributes
    ----------
    layer_param : LayerParameter
        The definition.
    blobs : BlobVec
        The parameters. Their diffs accumulate; the solver clears them.
    phase : int
        0 (TRAIN) or 1 (TEST).
    dtype : numpy dtype
        Of parameters and tops; float32 except when gradients are checked.
    param_propagate_down : list of bool
        Whether each parameter's diff is wanted.
    needs_backward : bool
        Whether the net runs this layer backward; if not, forward need not keep anything for it.
    param_str : str
        What the definition hands to a Python layer; never evaluated by the package.
    """

    type: ClassVar[str] = "Python"
    bottoms: ClassVar[Roles] = Roles(("bottom*",))
    tops: ClassVar[Roles] = Roles(("top*",))
    in_place_allowed: ClassVar[bool] = True
    is_loss: ClassVar[bool] = False
    no_backward_bottoms: ClassVar[tuple[int, ...]] = ()
    needs_backward = True
    _forward_on_gpu: bool | None = None

    def __init__(self, layer_param=None, phase: int | None = None, dtype=np.float32):
        self.layer_param = caffe_pb2.LayerParameter() if layer_param is None else layer_param
        self.phase = self.layer_param.phase if phase is None else phase
        self.dtype = np.dtype(dtype)
        self.blobs = BlobVec(self._blob_of(proto) for proto in self.layer_param.blobs)
        self.blobs.dtype = self.dtype
        self.param_propagate_down: list[bool] = []
        self._workspaces: dict[str, np.ndarray] = {}
        self._gpu_workspaces: dict[str, tuple] = {}

    def _blob_of(self, proto) -> Blob:
        """A parameter that the definition itself carries, as a .caffemodel does."""
        from caffe_spn.proto.blobs import blob_proto_to_array

        array = blob_proto_to_array(proto)
        blob = Blob(array.shape, self.dtype)
        blob.data[...] = array
        return blob

    @property
    def param_str(self) -> str:
        return self.layer_param.python_param.param_str

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Read the definition and create the parameters; called once."""

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Check the bottoms' shapes and give the tops theirs; called before every forward."""

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Compute the tops' data from the bottoms' data."""
        self._forward_on_gpu = self._runs_on_gpu
        if self._forward_on_gpu:
            self.forward_gpu(bottom, top)
        else:
            self.forward_cpu(bottom, top)

    def backward(self, top, propagate_down: Sequence[bool], bottom) -> None:
        """Compute the bottoms' diffs, where asked for, and add to the parameters' diffs.

        It runs where `forward` ran last, whatever the mode is now: what that has kept is there.
        """
        on_gpu = self._runs_on_gpu if self._forward_on_gpu is None else self._forward_on_gpu
        if on_gpu:
            self.backward_gpu(top, propagate_down, bottom)
        else:
            self.backward_cpu(top, propagate_down, bottom)

    def forward_cpu(self, bottom, top) -> None:
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def backward_cpu(self, top, propagate_down, bottom) -> None:
        raise NotImplementedError(f"{type(self).__name__} defines no backward")

    # What the net asks of a layer

    def check_arity(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Compare the numbers of bottoms and tops with what the layer declares."""
        for word, verb, roles, blobs in (
            ("bottom", "takes", self.bottoms, bottom),
            ("top", "makes", self.tops, top),
        ):
            if not roles.accepts(len(blobs)):
                raise self.param_error(
                    f"has {len(blobs)} {word}(s); {self.type} {verb} {roles.describe()}",
                    help=f"name one '{word}:' for each of them",
                )
        # A loss would give its first bottom the shape of a single number.
        separate = self.is_loss or not self.in_place_allowed
        if separate and any(t is b for t in top for b in bottom):
            raise self.param_error(
                f"{self.type} cannot compute in place (a top has the name of a bottom)",
                help="give the top a name of its own",
            )

    def allow_force_backward(self, index: int) -> bool:
        """Whether `force_backward` may ask for the diff of bottom `index`."""
        return index not in self.no_backward_bottoms

    # What a layer asks of its base

    def add_param(self, shape: Sequence[int], filler=None) -> Blob:
        """Append a parameter blob, filled as `filler` (a FillerParameter) says."""
        blob = Blob(shape, self.dtype)
        if filler is not None:
            from caffe_spn.filler import fill

            fill(blob.data, filler)
        self.blobs.append(blob)
        return blob

    def workspace(self, name: str, shape: Sequence[int], dtype=None) -> np.ndarray:
        """An array of this layer's own that is allocated once and grows when it must.

        Its content is whatever the last use left there.
        """
        dtype = np.dtype(dtype or self.dtype)
        count = int(np.prod(shape, dtype=np.int64))
        flat = self._workspaces.get(name)
        if flat is None or flat.size < count or flat.dtype != dtype:
            flat = self._workspaces[name] = np.empty(count, dtype)
        return flat[:count].reshape(shape)

    @property
    def where(self) -> str:
        return f"layer '{self.layer_param.name}' ({self.type})"

    def shape_error(self, message: str, help: str | None = None) -> ShapeError:
        return ShapeError(message, where=self.where, help=help)

    def param_error(self, message: str, help: str | None = None) -> PrototxtError:
        return PrototxtError(message, where=self.where, help=help)

    def axis(self, blob: Blob, axis: int, name: str = "axis") -> int:
        """`axis` of `blob` counted from the front; negative ones count from the back."""
        axes = len(blob.shape)
        if not -axes <= axis < axes:
            raise self.shape_error(
                f"{name} {axis} is out of range for a {axes}-D blob of shape {blob.shape}",
                help=f"{name} goes from {-axes} to {axes - 1} here",
            )
        return axis % axes


def register(
    layer_type: str,
    bottoms: Sequence[str] = ("bottom",),
    tops: Sequence[str] = ("top",),
    in_place: bool = True,
    replace: bool = False,
) -> Callable[[type[Layer]], type[Layer]]:
    """Class decorator that makes a layer known under a type name.

    Parameters
    ----------
    layer_type : str
        What a prototxt says in ``type:``.
    bottoms, tops : sequence of str
        The blobs' roles; see `caffe_spn.roles.Roles` for ``?``, ``*`` and ``+``.
    in_place : bool, default True
        Whether a top may be a bottom.
    replace : bool, default False
        Take the place of the class that has the type name, one of the package's for instance.

    Raises
    ------
    PrototxtError
        If another class has the type name.
    """

    def decorate(cls: type[Layer]) -> type[Layer]:
        if not replace:
            _check_free(layer_type, cls)
        cls.type = layer_type
        cls.bottoms = Roles(bottoms)
        cls.tops = Roles(tops)
        cls.in_place_allowed = in_place
        _registry[layer_type] = cls
        return cls

    return decorate


def register_factory(layer_type: str) -> Callable[[Callable[..., Layer]], Callable[..., Layer]]:
    """Function decorator: `layer_type` is made by a function instead of one fixed class."""

    def decorate(factory: Callable[..., Layer]) -> Callable[..., Layer]:
        _registry[layer_type] = factory
        return factory

    return decorate


def _check_free(layer_type: str, cls: type[Layer]) -> None:
    if not cls.__module__.startswith("caffe_spn."):
        # A user's class may be there before the package's own.
        _load_layers()
    other = _registry.get(layer_type, cls)
    names = [(c.__module__, c.__qualname__) for c in (cls, other)]
    if names[0] == names[1]:
        # The same, as when a module is loaded again.
        return
    try:
        where = f"{inspect.getsourcefile(cls)}:{inspect.getsourcelines(cls)[1]}"
    except (OSError, TypeError):
        where = ".".join(names[0])
    raise PrototxtError(
        f"the layer type '{layer_type}' is taken by {'.'.join(names[1])}",
        where=where,
        help="choose another name, or say register(..., replace=True)",
    )


def layer_type_list() -> StringVec:
    """The names of all layer types, in alphabetical order."""
    _load_layers()
    return StringVec(sorted(_registry))


def layer_class(layer_type: str, where: str | None = None) -> Callable[..., Layer]:
    """The class (or factory) registered for a type name.

    Raises
    ------
    PrototxtError
        If no layer has that name; the error names the nearest one.
    """
    _load_layers()
    if layer_type not in _registry:
        raise PrototxtError(
            f"unknown layer type '{layer_type}'",
            where=where,
            help=type_help(layer_type, _registry),
        )
    return _registry[layer_type]


def create_layer(layer_param, phase: int | None = None, dtype=np.float32) -> Layer:
    """The layer that a LayerParameter describes, before its `setup`."""
    where = f"layer '{layer_param.name}'"
    return layer_class(layer_param.type, where)(layer_param, phase=phase, dtype=dtype)


def _load_layers() -> None:
    # Layer modules register themselves when imported; none is needed before the first net.
    importlib.import_module("caffe_spn.layers")
