"""Write networks as Python expressions: pycaffe's NetSpec.

Every layer type is a function of `layers` (L below); it takes tops of other layers and the layer's
parameters as keywords, and gives its own tops:

>>> from caffe_spn import layers as L, params as P
>>> from caffe_spn.net_spec import NetSpec
>>> net = NetSpec()
>>> net.image = L.Input(shape=dict(dim=[1, 3, 32, 32]))
>>> net.conv = L.Convolution(net.image, num_output=8, kernel_size=3, pad=1)
>>> net.relu = L.ReLU(net.conv, in_place=True)
>>> net.pool = L.Pooling(net.relu, kernel_size=2, stride=2, pool=P.Pooling.MAX)
>>> [layer.name for layer in net.to_proto().layer]
['image', 'conv', 'relu', 'pool']

Source: `net_spec.py` of BVLC Caffe, whose names, results and layer order these keep.
"""

from __future__ import annotations

import functools
from collections import Counter

from caffe_spn.errors import PrototxtError, nearest
from caffe_spn.layer import layer_type_list
from caffe_spn.proto import caffe_pb2
from caffe_spn.proto.dialects import field_help, type_help


def param_name_dict() -> dict[str, str]:
    """Layer type to the field that holds its parameters, without ``_param``.

    Types that borrow another one's field (Deconvolution) or have none are not in it; a few names
    in it (Loss, Transformation) are of parameters that are no layer's own.
    """
    return _param_names(caffe_pb2.LayerParameter.DESCRIPTOR)


@functools.lru_cache(maxsize=2)
def _param_names(layer_parameter) -> dict[str, str]:
    # An extension changes the schema: what is kept is kept for one.
    return {
        field.message_type.name.removesuffix("Parameter"): field.name.removesuffix("_param")
        for field in layer_parameter.fields
        if field.name.endswith("_param")
    }


class UnknownFieldError(PrototxtError, AttributeError):
    """A field that a message does not have; pycaffe's is the AttributeError of protobuf."""


def to_proto(*tops):
    """The network that computes `tops`, as a NetParameter; layers are named by their type."""
    layers, autonames = {}, Counter()
    for top in tops:
        top.fn._to_proto(layers, {}, autonames)
    return _net_parameter(layers)


def assign_proto(proto, name: str, val) -> None:
    """Set a field of a message from plain Python values.

    Parameters
    ----------
    proto : Message
        Changed in place.
    name : str
        The field; single values and dicts are appended when it is repeated.
    val : number, str, bool, dict, or list of these
        A dict stands for a message.

    Raises
    ------
    UnknownFieldError
        If the message has no such field; it is a PrototxtError and an AttributeError.
    """
    if name not in proto.DESCRIPTOR.fields_by_name:
        near = nearest(name, proto.DESCRIPTOR.fields_by_name)
        raise UnknownFieldError(
            f"{proto.DESCRIPTOR.name} has no field '{name}'",
            help=field_help(name) or (f"did you mean '{near}'?" if near else None),
        )
    field = getattr(proto, name)
    if hasattr(field, "extend"):
        values = list(val) if isinstance(val, (list, tuple)) else [val]
        for value in values:
            if isinstance(value, dict):
                _assign_all(field.add(), value)
            else:
                field.append(value)
    elif isinstance(val, dict):
        _assign_all(field, val)
    else:
        setattr(proto, name, val)


def _assign_all(proto, values: dict) -> None:
    for name, value in values.items():
        assign_proto(proto, name, value)


class Top:
    """One output of a layer: number `n` of the Function `fn`."""

    def __init__(self, fn: Function, n: int):
        self.fn = fn
        self.n = n

    def to_proto(self):
        """The network that ends in this top, as a NetParameter."""
        return to_proto(self)

    def _update(self, params: dict) -> None:
        self.fn._update(params)

    def _to_proto(self, layers, names, autonames):
        return self.fn._to_proto(layers, names, autonames)


class Function:
    """A layer that is not yet part of a net.

    Parameters
    ----------
    type_name : str
        The layer type.
    inputs : sequence of Top
        Its bottoms.
    params : dict
        Fields of the type's own parameter message or of the layer; `ntop` (default 1) tells how
        many tops there are, `in_place` that the top is the bottom.

    Raises
    ------
    TypeError
        If an input is no Top, such as the tuple of a layer with two tops.
    """

    def __init__(self, type_name: str, inputs, params: dict):
        for index, blob in enumerate(inputs):
            if not isinstance(blob, Top):
                raise TypeError(f"{type_name} input {index} is not a Top (type is {type(blob)})")
        self.type_name = type_name
        self.inputs = inputs
        self.params = dict(params)
        self.ntop = self.params.pop("ntop", 1)
        self.in_place = self.params.pop("in_place", False)
        self.tops = tuple(Top(self, n) for n in range(self.ntop))

    def _update(self, params: dict) -> None:
        self.params.update(params)

    def _name_of(self, thing, names: dict, autonames: Counter) -> str:
        if thing not in names:
            autonames[self.type_name] += 1
            names[thing] = f"{self.type_name}{autonames[self.type_name]}"
        return names[thing]

    def _layer_name(self, names: dict, autonames: Counter) -> str:
        # A layer is named after its first top; one without tops has a name of its own.
        if self not in names and self.ntop > 0:
            names[self] = self._name_of(self.tops[0], names, autonames)
        return self._name_of(self, names, autonames)

    def _to_proto(self, layers: dict, names: dict, autonames: Counter) -> None:
        if self in layers:
            return
        bottoms = []
        for blob in self.inputs:
            blob._to_proto(layers, names, autonames)
            bottoms.append(layers[blob.fn].top[blob.n])
        layer = caffe_pb2.LayerParameter(type=self.type_name, bottom=bottoms)
        if self.in_place:
            layer.top.extend(bottoms)
        else:
            layer.top.extend(self._name_of(top, names, autonames) for top in self.tops)
        layer.name = self._layer_name(names, autonames)
        for name, value in self.params.items():
            try:
                assign_proto(self._holder(layer, name), name, value)
            except (PrototxtError, TypeError, ValueError) as error:
                raise _located(error, layer) from error
        layers[self] = layer

    def _holder(self, layer, name: str):
        """The message that field `name` belongs to: the type's own parameters or the layer."""
        own = f"{param_name_dict().get(self.type_name)}_param"
        own_field = layer.DESCRIPTOR.fields_by_name.get(own)
        if own_field is None or name.endswith("param"):
            return layer
        known = name in own_field.message_type.fields_by_name
        if known or name not in layer.DESCRIPTOR.fields_by_name:
            return getattr(layer, own)
        return layer


def _located(error: Exception, layer) -> PrototxtError:
    where = f"layer '{layer.name}' ({layer.type})"
    known = layer_type_list()
    if isinstance(error, UnknownFieldError) and layer.type not in known:
        # The type is what is wrong: with it go its parameters.
        return UnknownFieldError(error.message, where=where, help=type_help(layer.type, known))
    if isinstance(error, PrototxtError):
        return type(error)(error.message, where=where, help=error.help)
    return PrototxtError(str(error), where=where)


class NetSpec:
    """A net under construction: tops by name, in the order in which they were assigned.

    Attributes are blobs: ``net.conv1 = layers.Convolution(net.data, ...)`` gives layer and blob
    the name ``conv1``; ``net['conv1']`` is the same.
    """

    def __init__(self):
        # Assignments to self are blobs.
        super().__setattr__("tops", {})

    def __setattr__(self, name: str, value) -> None:
        self.tops[name] = value

    def __getattr__(self, name: str):
        if name.startswith("__"):
            # copy and pickle ask for these before there is a dictionary to look in.
            raise AttributeError(name)
        return self.tops[name]

    def __setitem__(self, key: str, value) -> None:
        self.tops[key] = value

    def __getitem__(self, item: str):
        return self.tops[item]

    def __delitem__(self, item: str) -> None:
        del self.tops[item]

    def keys(self) -> list[str]:
        """The names of the tops."""
        return list(self.tops)

    def vals(self) -> list[Top]:
        """The tops."""
        return list(self.tops.values())

    def update(self, name: str, params: dict) -> None:
        """Change parameters of the layer that makes top `name`."""
        self.tops[name]._update(params)

    def to_proto(self):
        """The net as a NetParameter.

        Raises
        ------
        PrototxtError
            If a layer was given a parameter that it does not have, with the nearest name.
        """
        names = {top: name for name, top in self.tops.items()}
        layers, autonames = {}, Counter()
        for top in self.tops.values():
            top._to_proto(layers, names, autonames)
        return _net_parameter(layers)


def _net_parameter(layers: dict):
    net = caffe_pb2.NetParameter()
    net.layer.extend(layers.values())
    return net


class Layers:
    """`layers.TYPE(*tops, **params)` makes a layer: its tops, or itself when it has none."""

    def __getattr__(self, name: str):
        def layer_fn(*args, **kwargs):
            fn = Function(name, args, kwargs)
            if fn.ntop == 0:
                return fn
            return fn.tops[0] if fn.ntop == 1 else fn.tops

        return layer_fn


class Parameters:
    """`params.Pooling.MAX` is the value MAX of an enum in PoolingParameter."""

    def __getattr__(self, name: str):
        class Param:
            def __getattr__(self, param_name: str):
                return getattr(getattr(caffe_pb2, f"{name}Parameter"), param_name)

        return Param()


layers = Layers()
params = Parameters()
