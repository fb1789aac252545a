"""Nets of the layer types of these tests, and what is copied for them."""

import numpy as np

import caffe_spn
from caffe_spn import Layer, Net
from caffe_spn.proto import caffe_pb2, text


def double(source, target):
    """Stands for a kernel."""
    from caffe_spn.cuda.runtime import runtime

    values = np.empty(source.shape, np.float32)
    runtime().driver.to_host(values, source.address)
    runtime().driver.to_device(target.address, 2 * values)


class Addition(Layer):
    """A layer as people write it for pycaffe."""

    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data + 1

    def backward(self, top, propagate_down, bottom):
        if propagate_down[0]:
            bottom[0].diff[...] = top[0].diff


def net(*types, loss_weight=0, dtype=np.float32):
    """A chain of layers of these types, blobs b0, b1, ..., on an input of shape (2, 3)."""
    definition = """
        force_backward: true
        layer { name: 'in' type: 'Input' top: 'b0' input_param { shape { dim: 2 dim: 3 } } }
    """
    for i, kind in enumerate(types):
        python = f"python_param {{ module: '{__name__}' layer: 'Addition' }}"
        definition += f"""
            layer {{ name: 'l{i}' type: '{kind}' bottom: 'b{i}' top: 'b{i + 1}'
                    {python if kind == "Python" else ""}
                    {f"loss_weight: {loss_weight}" if i == len(types) - 1 else ""} }}
        """
    return Net(text.parse(definition, caffe_pb2.NetParameter()), caffe_spn.TRAIN, dtype=dtype)


def copies(gpu):
    return gpu.uploads, gpu.downloads


VALUES = np.arange(6, dtype=np.float32).reshape(2, 3)


def run(made):
    """Forward, and backward from a diff of ones; the last top and the first diff."""
    last = made.outputs[0]
    top = made.forward(b0=VALUES)[last].copy()
    return top, made.backward(**{last: np.ones((2, 3))})["b0"].copy()
