"""No field of a definition is silently ignored: code reads it, or a docstring says why not.

That each layer's fields are documented, with their defaults, is the business of tests/docs.
"""

import ast
import inspect
import logging
import re
import sys
from functools import cache
from pathlib import Path

import pytest

import caffe_spn as caffe
from caffe_spn.layer import Layer, layer_class
from caffe_spn.proto import caffe_pb2, text
from caffe_spn.unread_params import unread_params
from docs.layer_reference.layers import Described

PACKAGE = Path(caffe.__file__).parent
SETTLED = re.compile("accepted and ignored|refused")
# What Caffe's own are for has no meaning here.
IGNORED = {
    ("SolverParameter", "device_id"): "chooses a GPU: tests/tools/test_device_query.py",
    ("SolverParameter", "layer_wise_reduce"): "orders the sums of several GPUs' gradients",
}
SHARED = (
    *("NetParameter", "SolverParameter", "NetState", "NetStateRule", "ParamSpec"),
    *("LayerParameter", "TransformationParameter", "FillerParameter", "LossParameter"),
    *("BlobProto", "BlobShape", "Datum", "SolverState"),
)


@cache
def names_in(path: str) -> frozenset[str]:
    """What the code of a file says: names, attributes and texts, without docstrings."""
    tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, holders) and node.body and isinstance(node.body[0], ast.Expr)
    }
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in docs:
                found.add(node.value)
        elif isinstance(node, ast.JoinedStr):
            # As f"{name}_h", which stands for pad_h, kernel_h and stride_h.
            texts = (part.value if isinstance(part, ast.Constant) else None for part in node.values)
            pattern = "".join("\\w+" if text is None else re.escape(text) for text in texts)
            # Not f"{a}_{b}", which stands for anything.
            if re.search(r"[a-z]", pattern.replace("\\w+", "")):
                found.add(re.compile(pattern))
    return frozenset(found)


def says(path: str, name: str) -> bool:
    """Whether the code of a file mentions a field."""
    found = names_in(path)
    patterns = (other for other in found if not isinstance(other, str))
    return name in found or any(pattern.fullmatch(name) for pattern in patterns)


def files_of(layer_type: str) -> set[str]:
    """The files of a layer's classes, and those of the package that they import directly."""
    made = layer_class(layer_type)
    classes = inspect.getmro(made) if inspect.isclass(made) else (made, Layer)
    modules = {cls.__module__ for cls in classes if cls.__module__.startswith("caffe_spn")}
    for module in list(modules):
        for value in vars(sys.modules[module]).values():
            name = value.__name__ if inspect.ismodule(value) else getattr(value, "__module__", None)
            if isinstance(name, str) and name.startswith(("caffe_spn.layers", "caffe_spn.data")):
                modules.add(name)
    return {sys.modules[name].__file__ for name in modules}


@pytest.mark.parametrize("layer_type", list(caffe.layer_type_list()))
def test_fields_of_a_layer(layer_type):
    layer = Described(layer_type)
    if layer.message is None:
        return
    settled = {
        name.rpartition(".")[2]
        for entry in layer.parameters
        if SETTLED.search(f"{entry.type} {entry.text}")
        for name in entry.names
    }
    files = files_of(layer_type)
    silent = [
        name
        for name in layer.message.fields_by_name
        if name not in settled and not any(says(path, name) for path in files)
    ]
    assert not silent, f"{layer_type} reads nothing of {silent}, and its docstring does not say why"


@pytest.mark.parametrize("message", SHARED)
def test_fields_of_what_is_shared(message):
    layers = Path(sys.modules["caffe_spn.layers"].__file__).parent
    folders = (PACKAGE, PACKAGE / "data", PACKAGE / "graph", layers)
    # Files that have lists of names, of old fields or of other programs', read none of them.
    files = [str(p) for f in folders for p in f.glob("*.py") if p.name != "upgrade_v0.py"]
    files.append(str(PACKAGE / "proto" / "blobs.py"))
    silent = {
        (message, field.name)
        for field in getattr(caffe_pb2, message).DESCRIPTOR.fields
        if not any(says(path, field.name) for path in files)
    }
    assert silent == {key for key in IGNORED if key[0] == message}


@pytest.mark.parametrize("layer_type", list(caffe.layer_type_list()))
def test_messages_that_a_layer_reads(layer_type):
    """What is warned of as unread is nowhere in the layer's own files; what is not, is there."""
    definition = caffe_pb2.LayerParameter(type=layer_type)
    fields = [f for f in definition.DESCRIPTOR.fields if f.name.endswith("_param")]
    for field in fields:
        getattr(definition, field.name).SetInParent()
    unread = set(unread_params(definition))
    read = {field.name for field in fields} - unread
    own = Path(inspect.getsourcefile(layer_class(layer_type)))
    # These two have nothing but an engine.
    read -= {"sigmoid_param", "tanh_param"}
    assert all(any(says(path, name) for path in files_of(layer_type)) for name in read)
    shared = {"loss_param", "transform_param", "softmax_param", "convolution_param"}
    assert not [name for name in unread & shared if says(str(own), name)]


def warnings_of(source, caplog):
    net = caffe.Net(text.parse(INPUT + source, caffe_pb2.NetParameter()), caffe.TEST)
    net.close()
    return caplog.messages


@pytest.fixture
def log(caplog):
    logger = logging.getLogger("caffe_spn")
    propagate, logger.propagate = logger.propagate, True
    with caplog.at_level("INFO", "caffe_spn"):
        yield caplog
    logger.propagate = propagate


INPUT = """
layer { name: "x" type: "Input" top: "x" top: "t"
        input_param { shape { dim: 2 dim: 3 } shape { dim: 2 } } }
"""


def test_a_message_of_another_type_is_warned_of(log):
    source = """
        layer { name: "a" type: "Accuracy" bottom: "x" bottom: "t" top: "a"
                loss_param { ignore_label: 1 } pooling_param { } accuracy_param { } }
    """
    want = ["layer 'a' (Accuracy): this type reads no loss_param and no pooling_param"]
    assert warnings_of(source, log) == want


def test_no_warning_without_need(log):
    source = 'layer { name: "s" type: "SoftmaxWithLoss" bottom: "x" bottom: "t" loss_param { } }'
    assert warnings_of(source, log) == []


def test_a_net_that_states_debug_info_shows_it(log):
    source = """
        debug_info: true
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 } } }
        layer { name: "p" type: "Power" bottom: "x" top: "y" power_param { shift: 3 } }
    """
    caffe.Net(text.parse(source, caffe_pb2.NetParameter()), caffe.TEST).forward()
    assert "    [Forward] Layer p, top blob y data: 3" in log.messages
