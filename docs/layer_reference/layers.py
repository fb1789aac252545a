"""What there is to say about a layer type: its docstring, its module's, its messages, its blobs."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import NamedTuple

from caffe_spn.layer import layer_class, layer_type_list
from caffe_spn.layers.neuron import NeuronLayer
from caffe_spn.net_spec import param_name_dict
from caffe_spn.proto import caffe_pb2
from caffe_spn.roles import Roles
from docs.layer_reference import docstring
from docs.layer_reference.docstring import Docstring, Entry

# As Caffe's users look for them.
GROUPS = {
    "Spatial propagation": "SpatialPropagation GateRecurrent2dnoind Divide SegmentationPatch ROI",
    "Vision": "Convolution Deconvolution Pooling SPP Im2col Crop",
    "Recurrent": "LSTM RNN LSTMUnit",
    "Neuron": "ReLU PReLU ELU Sigmoid TanH AbsVal Power Exp Log BNLL Swish Clip Threshold Dropout",
    "Normalisation": "BatchNorm LRN MVN",
    "Common": "InnerProduct Embed Scale Bias Eltwise Concat Slice Split Flatten Reshape Tile"
    " Reduction Filter BatchReindex ArgMax Softmax Silence Parameter Python",
    "Loss": "SoftmaxWithLoss SigmoidCrossEntropyLoss EuclideanLoss HingeLoss InfogainLoss"
    " MultinomialLogisticLoss ContrastiveLoss Accuracy",
    "Data": "Data ImageData HDF5Data WindowData MemoryData Input DummyData HDF5Output",
}

_SOURCE = re.compile(r"^Source: (.*?)(?=\n\n|\Z)", re.DOTALL | re.MULTILINE)
_OWN_FIELDS = {base: f"{name}_param" for base, name in param_name_dict().items()}


class Blob(NamedTuple):
    """One role of `register`: a bottom or top of a layer type."""

    name: str
    kind: str


class Described:
    """A layer type with its documentation.

    Attributes
    ----------
    type : str
    doc, module : Docstring
        Of the class (or factory) and of its module.
    path : str
        The module's file, from the repository's root.
    alone : bool
        Whether the module registers no other type.
    field : str or None
        The field of LayerParameter that holds the type's parameters.
    """

    def __init__(self, layer_type: str):
        self.type = layer_type
        self.target = layer_class(layer_type)
        self.doc: Docstring = docstring.read(self.target.__doc__)
        module = sys.modules[self.target.__module__]
        self.module: Docstring = docstring.read(module.__doc__)
        self.path = f"layers/{Path(module.__file__).name}"
        modules = [layer_class(t).__module__ for t in layer_type_list()]
        self.alone = modules.count(module.__name__) == 1
        self.field, self.parameters = self._parameters()

    def _parameters(self) -> tuple[str | None, list[Entry]]:
        field, text = _OWN_FIELDS.get(self.type), ""
        for title, section in self.doc.sections.items():
            if match := re.fullmatch(r"Parameters(?: \(`(\w+)`\))?", title):
                field, text = match[1] or field, section
        return field, docstring.entries(text)

    @property
    def message(self):
        """The descriptor of the type's own message, or None."""
        fields = caffe_pb2.LayerParameter.DESCRIPTOR.fields_by_name
        return fields[self.field].message_type if self.field else None

    @property
    def is_neuron(self) -> bool:
        """Whether it maps each element on its own, so that all shapes are obvious."""
        return inspect.isclass(self.target) and issubclass(self.target, NeuronLayer)

    @property
    def roles(self) -> list[Blob]:
        """Bottoms, then tops, as registered; none for a type that takes any."""
        if not inspect.isclass(self.target):
            return []
        return _blobs("bottom", self.target.bottoms) + _blobs("top", self.target.tops)

    @property
    def blob_entries(self) -> dict[str, Entry]:
        """Role to the entry that describes it."""
        found = {}
        for title in ("Bottoms", "Tops", "Bottoms, tops"):
            for entry in docstring.entries(self.doc.sections.get(title, "")):
                found |= {name.rstrip("?*+"): entry for name in entry.names}
        return found

    @property
    def example(self) -> str:
        """The text of the Examples section."""
        return self.doc.sections.get("Examples", "")

    @property
    def code_blocks(self) -> list[str]:
        """The indented blocks of the Examples section; the first is prototxt."""
        return [block for indented, block in docstring.blocks(self.example) if indented]

    @property
    def source(self) -> str:
        """Where it comes from: what the module's docstring says after "Source:"."""
        match = _SOURCE.search(self.module.body)
        return match[1] if match else ""

    @property
    def module_text(self) -> str:
        """What the module's docstring says besides, if it is about this type alone."""
        return _SOURCE.sub("", self.module.body).strip("\n") if self.alone else ""


def _blobs(word: str, roles: Roles) -> list[Blob]:
    blobs = []
    for i, name in enumerate(roles.names):
        last = i == len(roles.names) - 1
        if roles.maximum is None and last:
            kind = f"{word}s, " + ("one or more" if i < roles.minimum else "any number")
        else:
            kind = word if i < roles.minimum else f"{word}, optional"
        blobs.append(Blob(name, kind))
    return blobs


def described() -> dict[str, Described]:
    """The package's types, in alphabetical order, without those that a user has added."""
    return {
        layer_type: Described(layer_type)
        for layer_type in layer_type_list()
        if layer_class(layer_type).__module__.startswith("caffe_spn.layers.")
    }
