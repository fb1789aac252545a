"""The SPN layers as Python layers of a pycaffe, which a small stand-in plays here."""

import sys
import types

import numpy as np
import pytest

from caffe_spn.errors import PrototxtError, ShapeError
from caffe_spn.layers import pycaffe_adapter
from tests.cpu.recurrence_reference import random_inputs
from tests.layers.running import Run, normal


class FakeBlob:
    """What pycaffe shows of a blob: `shape` is a vector, `data` and `diff` are NumPy arrays."""

    def __init__(self, value=0.0):
        self.reshape(*np.shape(value))
        self.data[...] = value

    def reshape(self, *shape):
        self.data, self.diff = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self.shape = list(shape)


class FakeLayer:
    """pycaffe's `caffe.Layer`: Caffe sets `param_str` and `phase` before it calls `setup`."""

    phase = 0
    param_str = ""


@pytest.fixture
def pycaffe(monkeypatch):
    fake = types.ModuleType("caffe")
    fake.Layer = FakeLayer
    monkeypatch.setitem(sys.modules, "caffe", fake)
    yield fake
    for name in pycaffe_adapter.PARAMETERS:
        pycaffe_adapter.__dict__.pop(name, None)


class PythonLayer:
    """Runs a Python layer as Caffe's PythonLayer does."""

    def __init__(self, name, param_str, *inputs):
        cls = getattr(pycaffe_adapter, name)
        assert issubclass(cls, FakeLayer)
        self.layer = cls()
        self.layer.param_str = param_str
        self.bottom, self.top = [FakeBlob(x) for x in inputs], [FakeBlob()]
        self.layer.setup(self.bottom, self.top)
        self.layer.reshape(self.bottom, self.top)
        self.layer.forward(self.bottom, self.top)
        self.out = self.top[0].data

    def backward(self, diff):
        self.top[0].diff[...] = diff
        self.layer.backward(self.top, [True] * len(self.bottom), self.bottom)
        return [blob.diff for blob in self.bottom]


CASES = {
    "scan": (
        "GateRecurrent2dnoind",
        '{"horizontal": false, "reverse": true}',
        "gaterecurrent2dnoind_param { horizontal: false reverse: true }",
        [normal(1, 2, 5, 7, seed=i) * np.float32(0.3) for i in range(4)],
    ),
    "divide": ("Divide", '{"alpha": 2}', "divide_param { alpha: 2 }", [normal(2, 3) + 5]),
    "defaults": ("SpatialPropagation", "", "", random_inputs((1, 2, 6, 5))),
    "units": (
        "SpatialPropagation",
        '{"connection": "ONE_WAY", "normalization": "CLIP", "units": 2}',
        "spatial_propagation_param { connection: ONE_WAY normalization: CLIP units: 2 }",
        random_inputs((1, 2, 6, 5), connection=1),
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_computes_what_the_layer_computes(case, pycaffe):
    name, param_str, definition, inputs = case
    adapted = PythonLayer(name, param_str, *inputs)
    run = Run(f'type: "{name}" {definition}', *inputs)
    np.testing.assert_array_equal(adapted.out, run.out)
    diff = normal(*run.out.shape, seed=9)
    for a, b in zip(adapted.backward(diff), run.backward(diff), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("param_str", ["{", "[1]", '{"unit": 2}', '{"connection": "FOUR_WAY"}'])
def test_a_param_str_that_cannot_be_read(param_str, pycaffe):
    with pytest.raises(PrototxtError, match="cannot be read") as error:
        PythonLayer("SpatialPropagation", param_str, *random_inputs((1, 2, 6, 5)))
    assert "connection, normalization, integration, units" in error.value.help


def test_shapes_are_checked(pycaffe):
    with pytest.raises(ShapeError, match="it must be"):
        PythonLayer("SpatialPropagation", "", normal(1, 2, 6, 5), normal(1, 8, 6, 5))


def test_the_number_of_bottoms_is_checked(pycaffe):
    with pytest.raises(PrototxtError, match=r"has 1 bottom\(s\)"):
        PythonLayer("SpatialPropagation", "", normal(1, 2, 6, 5))


def test_other_names_are_not_there():
    with pytest.raises(AttributeError, match="no attribute 'ReLU'"):
        _ = pycaffe_adapter.ReLU
