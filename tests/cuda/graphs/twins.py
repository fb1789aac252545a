"""A net that is run with and without CUDA graphs, and what both must agree on."""

import numpy as np

import caffe_spn as caffe
from caffe_spn.cuda.device.graphs import set_cuda_graphs
from caffe_spn.proto import caffe_pb2, text

NET = """
layer { name: "in" type: "Input" top: "x" top: "l" input_param {
  shape { dim: 2 dim: 3 dim: 6 dim: 7 } shape { dim: 2 dim: 1 dim: 6 dim: 7 } } }
layer { name: "c" type: "Convolution" bottom: "x" top: "c" convolution_param {
  num_output: 4 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
layer { name: "bn" type: "BatchNorm" bottom: "c" top: "c" }
layer { name: "s" type: "Scale" bottom: "c" top: "c" scale_param { bias_term: true } }
layer { name: "r" type: "ReLU" bottom: "c" top: "c" }
layer { name: "p" type: "Pooling" bottom: "x" top: "p"
  pooling_param { kernel_size: 3 stride: 1 pad: 1 } }
layer { name: "g" type: "Convolution" bottom: "p" top: "g" convolution_param {
  num_output: 48 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "spn" type: "SpatialPropagation" bottom: "c" bottom: "g" top: "h"
  spatial_propagation_param { units: 2 } }
layer { name: "d" type: "Dropout" bottom: "h" top: "d" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "d" bottom: "l" top: "loss" }
layer { name: "a" type: "Accuracy" bottom: "d" bottom: "l" top: "a" }
"""
# The first allocates; three that are equal to one another; and one that is captured.
PASSES_TO_A_GRAPH = 5


def make(definition=NET, phase=caffe.TRAIN):
    caffe.set_random_seed(3)
    return caffe.Net(text.parse(definition, caffe_pb2.NetParameter()), phase)


def feed(net, seed):
    rng = np.random.default_rng(seed)
    shape = net.blobs["x"].shape
    net.blobs["x"].data[...] = rng.standard_normal(shape)
    net.blobs["l"].reshape(shape[0], 1, *shape[2:])
    net.blobs["l"].data[...] = rng.integers(0, 4, net.blobs["l"].shape)


def step(net, seed, read=True):
    """What a training step computes: every number of the net."""
    feed(net, seed)
    net.clear_param_diffs()
    loss = net.forward_backward()
    return [np.float32(loss), *everything(net)] if read else loss


def everything(net):
    params = [blob for layer in net.layers for blob in layer.blobs]
    blobs = [*net._blobs, *params]
    return [blob.cpu_data.copy() for blob in blobs] + [blob.cpu_diff.copy() for blob in blobs]


def assert_equal(got, want):
    assert len(got) == len(want)
    for i, (a, b) in enumerate(zip(got, want, strict=True)):
        np.testing.assert_array_equal(a, b, err_msg=f"number {i} of what was computed")


class Twins:
    """The same net with and without graphs."""

    def __init__(self, gpu, make=make):
        self.gpu, self.make = gpu, make
        self.nets = [make(), make()]
        self.seed = 0

    def both(self, change):
        for graphs, net in zip((True, False), self.nets, strict=True):
            set_cuda_graphs(graphs)
            change(net)

    def steps(self, count=1):
        """Compare; returns how many graphs were launched."""
        launched = self.gpu.graph_launches
        for _ in range(count):
            self.seed += 1
            results = []
            self.both(lambda net: results.append(step(net, self.seed)))  # noqa: B023
            assert_equal(*results)
        return self.gpu.graph_launches - launched

    def until_graphs(self):
        """Steps until both passes are launched as graphs."""
        for _ in range(12):
            if self.steps() == 2:
                return
        raise AssertionError("no graph was captured")
