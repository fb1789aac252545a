"""The SPN layers as Python layers of a real pycaffe (BVLC Caffe built with Python layers).

A prototxt for that Caffe names this module, the layer type, and its parameters as JSON::

    layer {
      name: "spn" type: "Python" bottom: "x" bottom: "guidance" top: "h"
      python_param {
        module: "caffe_spn.layers.pycaffe_adapter"
        layer: "SpatialPropagation"
        param_str: '{"connection": "ONE_WAY", "normalization": "CLIP", "units": 2}'
      }
    }

The layers are `GateRecurrent2dnoind`, `Divide` and `SpatialPropagation`; the keys are the fields
of their parameter messages, and an empty `param_str` stands for the defaults. They compute on
the CPU, with this package's kernels.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from caffe_spn.errors import PrototxtError
from caffe_spn.layer import create_layer
from caffe_spn.proto import caffe_pb2

PARAMETERS = {
    "GateRecurrent2dnoind": "gaterecurrent2dnoind_param",
    "Divide": "divide_param",
    "SpatialPropagation": "spatial_propagation_param",
}


class BlobView:
    """A pycaffe blob with this package's manners: `shape` is a tuple."""

    def __init__(self, blob):
        self.blob = blob

    @property
    def data(self):
        return self.blob.data

    @property
    def diff(self):
        return self.blob.diff

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.blob.shape)

    def reshape(self, *shape: int) -> None:
        self.blob.reshape(*shape)

    def reshape_like(self, other: BlobView) -> None:
        self.blob.reshape(*other.shape)


def views(blobs: Sequence) -> list[BlobView]:
    return [BlobView(blob) for blob in blobs]


def layer_parameter(layer_type: str, param_str: str):
    """The LayerParameter that a `param_str` describes.

    Raises
    ------
    PrototxtError
        If it is not a JSON object of fields that the layer has.
    """
    from google.protobuf import json_format

    param = caffe_pb2.LayerParameter(name=layer_type, type=layer_type)
    field = PARAMETERS[layer_type]
    try:
        values = json.loads(param_str) if param_str.strip() else {}
        json_format.ParseDict(values, getattr(param, field))
    except (ValueError, json_format.ParseError) as error:
        known = ", ".join(f.name for f in getattr(param, field).DESCRIPTOR.fields)
        raise PrototxtError(
            f"param_str {param_str!r} cannot be read: {error}",
            where=f"Python layer {layer_type}",
            help=f"write a JSON object with some of the keys {known}",
        ) from error
    return param


def adapter(layer_type: str) -> type:
    """A subclass of the installed pycaffe's `caffe.Layer` that runs the layer of that type."""
    import caffe

    class Adapter(caffe.Layer):
        def setup(self, bottom, top):
            param = layer_parameter(layer_type, self.param_str)
            self.inner = create_layer(param, phase=int(getattr(self, "phase", 0)))
            self.inner.check_arity(bottom, top)
            self.inner.setup(views(bottom), views(top))

        def reshape(self, bottom, top):
            self.inner.reshape(views(bottom), views(top))

        def forward(self, bottom, top):
            self.inner.forward_cpu(views(bottom), views(top))

        def backward(self, top, propagate_down, bottom):
            self.inner.backward_cpu(views(top), list(propagate_down), views(bottom))

    Adapter.__name__ = Adapter.__qualname__ = layer_type
    return Adapter


def __getattr__(name: str):
    # The classes are made when Caffe asks for them: only then is there a `caffe` to import.
    if name not in PARAMETERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = adapter(name)
    return globals()[name]
