"""A small net, and how it is run on either side, for tests that move nets between CPU and GPU."""

import numpy as np

import caffe_spn as caffe
from caffe_spn.proto import caffe_pb2, text

# Layers on the device, and one of Python, on the host, among them.
LAYERS = """
layer { name: "conv" type: "Convolution" bottom: "x" top: "c" convolution_param {
  num_output: 4 kernel_size: 3 pad: 1 bias_term: false weight_filler { type: "xavier" } } }
layer { name: "bn" type: "BatchNorm" bottom: "c" top: "c" }
layer { name: "relu" type: "ReLU" bottom: "c" top: "c" relu_param { negative_slope: 0.1 } }
layer { name: "tripled" type: "Python" bottom: "c" top: "p"
  python_param { module: "tests.cuda.moving_net" layer: "Tripled" } }
layer { name: "pool" type: "Pooling" bottom: "p" top: "q"
  pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "ip" type: "InnerProduct" bottom: "q" top: "y"
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
"""
DEPLOY = """
force_backward: true
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 6 dim: 8 } } }
"""
POWER = ' name: "tripled" type: "Power" bottom: "c" top: "p" power_param { scale: 3 } }\n'
DATA = """
layer { name: "d" type: "DummyData" top: "x" top: "t" dummy_data_param {
  shape { dim: 2 dim: 3 dim: 6 dim: 8 } data_filler { type: "gaussian" std: 1 }
  shape { dim: 2 dim: 2 } data_filler { type: "constant" value: 1 } } }
"""
LOSS = 'layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }'
INPUT = np.random.default_rng(1).standard_normal((2, 3, 6, 8)).astype(np.float32)


class Tripled(caffe.Layer):
    """A layer as people write it for pycaffe."""

    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom, top):
        top[0].data[...] = 3 * bottom[0].data

    def backward(self, top, propagate_down, bottom):
        if propagate_down[0]:
            bottom[0].diff[...] = 3 * top[0].diff


def net_of(definition=DEPLOY + LAYERS, phase=caffe.TRAIN):
    caffe.set_random_seed(5)
    return caffe.Net(text.parse(definition, caffe_pb2.NetParameter()), phase)


def passes(net):
    """The output and all gradients of one forward and backward pass."""
    net.clear_param_diffs()
    out = net.forward(x=INPUT)["y"].copy()
    down = net.backward(y=np.ones((2, 2)))["x"].copy()
    return [out, down, *(blob.diff.copy() for blob in net.learnable_params)]


def assert_close(found, wanted, rtol=1e-4):
    for mine, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol, 1e-5)


MODES = {"cpu": caffe.set_mode_cpu, "gpu": caffe.set_mode_gpu}
