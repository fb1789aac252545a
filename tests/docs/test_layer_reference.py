"""docs/layers: the pages are those that the docstrings make, and every example builds and runs."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest

from caffe_spn.net import TRAIN, Net
from caffe_spn.proto import caffe_pb2, text
from docs.layer_reference import pages
from docs.layer_reference.__main__ import FOLDER
from docs.layer_reference.check import problems
from docs.layer_reference.layers import Described, described

LAYERS = described()


def uniform(*shape):
    return np.random.default_rng(0).uniform(0.1, 0.9, shape).astype(np.float32)


# Bottoms that an example takes from elsewhere; those that are not named here are images.
IMAGES = uniform(2, 3, 32, 32)
BOTTOMS = {
    "scores": uniform(2, 6, 4, 5),
    "labels": np.zeros((2, 4, 5)),
    "targets": uniform(2, 6, 4, 5),
    "score": uniform(2, 21, 8, 9),
    "upscore": uniform(2, 21, 40, 44),
    "features": uniform(2, 4, 8, 9),
    "guidance": uniform(2, 48, 8, 9),
    # One number for each example.
    "prob": uniform(2, 6),
    "label": np.zeros(2),
    "index": np.zeros(2),
    "has_label": np.ones(2),
    "words": np.zeros((2, 7)),
    "left": uniform(2, 16),
    "right": uniform(2, 16),
    "similarity": np.ones(2),
    "regions": np.array([[1, 1, 1, 16, 16], [2, 17, 9, 32, 24]]),
    # Recurrent layers: the images are 2 time steps of 3 streams.
    "cont": np.ones((2, 3)),
    # One step of them.
    "c_0": uniform(1, 3, 4),
    "gates_1": uniform(1, 3, 16),
    "cont_1": np.ones((1, 3)),
}

# These open what they name when they are built; here only their text is checked.
READ_FILES = {"Data", "HDF5Data", "ImageData", "InfogainLoss", "SegmentationPatch", "WindowData"}


def parsed(layer: Described):
    """The first code block of the Examples section, as a NetParameter."""
    return text.parse(layer.code_blocks[0], caffe_pb2.NetParameter(), f"<{layer.path}>")


def with_inputs(net):
    """The net with an Input layer in front for each bottom that no layer of it makes."""
    made, complete = set(), caffe_pb2.NetParameter(force_backward=True)
    for layer in net.layer:
        for name in layer.bottom:
            if name not in made:
                made.add(name)
                source = complete.layer.add(name=f"input_{name}", type="Input", top=[name])
                source.input_param.shape.add(dim=BOTTOMS.get(name, IMAGES).shape)
        made.update(layer.top)
    complete.layer.extend(net.layer)
    return complete


@pytest.fixture
def example_module(monkeypatch):
    """`my_layers`, which the example of the Python layer shows, can be imported."""
    module = types.ModuleType("my_layers")
    monkeypatch.setitem(sys.modules, "caffe", sys.modules["caffe_spn"])
    exec(LAYERS["Python"].code_blocks[1], module.__dict__)
    monkeypatch.setitem(sys.modules, "my_layers", module)


@pytest.mark.parametrize("layer_type", LAYERS)
def test_docstring_agrees_with_message_and_registration(layer_type):
    assert problems(LAYERS[layer_type]) == []


@pytest.mark.parametrize("layer_type", LAYERS)
def test_example_runs(layer_type, example_module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # HDF5Output writes
    definition = parsed(LAYERS[layer_type])
    assert layer_type in [layer.type for layer in definition.layer]
    if layer_type in READ_FILES:
        return
    net = Net(with_inputs(definition), TRAIN)
    for layer in net.layer_dict:
        if layer.startswith("input_"):
            name = layer.removeprefix("input_")
            net.blobs[name].data[...] = BOTTOMS.get(name, IMAGES)
    if layer_type == "MemoryData":
        net.set_input_arrays(np.ones((8, 3, 32, 32), np.float32), np.ones(8, np.float32))
    outputs = net.forward()
    assert all(np.isfinite(value).all() for value in outputs.values())


def test_pages_are_those_that_the_docstrings_make():
    expected = pages.pages(LAYERS)
    for name, content in expected.items():
        page = FOLDER / name
        assert page.exists(), f"{name}: run python -m docs.layer_reference (make docs)"
        assert page.read_text(encoding="utf-8") == content, (
            f"{name} is stale: run python -m docs.layer_reference (make docs)"
        )
    handwritten = {"every-layer.md"}
    assert {path.name for path in Path(FOLDER).iterdir()} == expected.keys() | handwritten
