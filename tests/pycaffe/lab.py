"""What the checks of the surface work with: small networks in files, nets and solvers of them."""

from __future__ import annotations

import textwrap

import numpy as np

import caffe_spn as caffe

# No inputs; trained. 'conv_relu' works in place.
TRAINED = """
name: "trained"
force_backward: true
layer { name: "data" type: "DummyData" top: "data" top: "label"
  dummy_data_param {
    shape { dim: 4 dim: 2 dim: 5 dim: 6 } data_filler { type: "gaussian" std: 1 }
    shape { dim: 4 } data_filler { type: "constant" value: 2 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 1 decay_mult: 0 }
  convolution_param { num_output: 3 kernel_size: 3
    weight_filler { type: "gaussian" std: 0.1 } bias_filler { type: "constant" value: 1 } } }
layer { name: "conv_relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "score" type: "InnerProduct" bottom: "conv" top: "score"
  inner_product_param { num_output: 5 weight_filler { type: "gaussian" std: 0.1 } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss" }
"""

# One input; y = 2 x + 1, and the weights of fc are there to be learnt.
DEPLOYED = """
name: "deployed"
force_backward: true
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "affine" type: "Power" bottom: "x" top: "affine" power_param { scale: 2 shift: 1 } }
layer { name: "fc" type: "InnerProduct" bottom: "affine" top: "y"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
"""

FROM_MEMORY = """
layer { name: "data" type: "MemoryData" top: "data" top: "label"
  memory_data_param { batch_size: 2 channels: 1 height: 2 width: 3 } }
layer { name: "twice" type: "Power" bottom: "data" top: "twice" power_param { scale: 2 } }
layer { name: "nothing" type: "Silence" bottom: "label" }
"""

PYTHON = """
force_backward: true
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "own" type: "Python" bottom: "x" top: "y"
  python_param { module: "MODULE" layer: "Own" param_str: "2.5" } }
"""

OWN_LAYER = """
import caffe

class Own(caffe.Layer):
    def setup(self, bottom, top):
        self.factor = float(self.param_str)
        self.blobs.add_blob(1, 3)
        self.blobs[0].data[...] = 1
        self.seen = [type(bottom).__name__, type(top).__name__]

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom, top):
        top[0].data[...] = self.factor * bottom[0].data + self.blobs[0].data + self.phase

    def backward(self, top, propagate_down, bottom):
        self.seen.append(type(propagate_down).__name__)
        if propagate_down[0]:
            bottom[0].diff[...] = self.factor * top[0].diff
        self.blobs[0].diff[...] += top[0].diff.sum(0)
"""


class Lab:
    """Makes files, nets and solvers in a folder of the test's own."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        self.monkeypatch = monkeypatch

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def write(self, text: str, name: str = "net.prototxt") -> str:
        (self.folder / name).write_text(textwrap.dedent(text))
        return self.path(name)

    def net(self, text: str = DEPLOYED, phase: int = caffe.TEST, **options):
        return caffe.Net(self.write(text), phase, **options)

    def trained(self):
        return self.net(TRAINED, caffe.TRAIN)

    def python_net(self, phase: int = caffe.TRAIN):
        # A module of its own: importing it again must not find that of another test.
        module = f"own_layer_{abs(hash(self.path('')))}"
        self.write(OWN_LAYER, f"{module}.py")
        self.monkeypatch.syspath_prepend(self.path(""))
        return self.net(PYTHON.replace("MODULE", module), phase)

    def solver_file(self, more: str = "") -> str:
        settings = {
            "net": f'"{self.write(TRAINED)}"',
            "test_iter": 2,
            "test_interval": 100,
            "test_initialization": "false",
            "base_lr": 0.01,
            "lr_policy": '"inv"',
            "gamma": 0.1,
            "power": 0.5,
            "max_iter": 4,
            "snapshot_after_train": "false",
            "snapshot_prefix": f'"{self.path("snap")}"',
        }
        lines = [f"{name}: {value}" for name, value in settings.items()]
        return self.write("\n".join([*lines, more]), "solver.prototxt")

    def solver(self, cls=None, more: str = ""):
        return (cls or caffe.SGDSolver)(self.solver_file(more))


def weights_of(net) -> list[np.ndarray]:
    """Copies of all parameters."""
    return [blob.data.copy() for blobs in net.params.values() for blob in blobs]


def equal_weights(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
