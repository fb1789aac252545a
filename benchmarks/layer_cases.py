"""What `benchmarks.layers` measures: layers at the shapes of common networks, with PyTorch's peers.

Shapes are those of AlexNet, VGG-16, ResNet-50, CIFAR-10 and segmentation networks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from caffe_spn.proto import caffe_pb2

CLASSES = 21
IGNORED = 255


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


# What a layer is given: functions of the shape of its first bottom.


def one(shape):
    return [normal(*shape)]


def two(shape):
    return [normal(*shape), normal(*shape, seed=1)]


def scores_and_labels(shape):
    """Scores (N, C, ...) and labels (N, ...), a tenth of them ignored."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, shape[1], (shape[0], *shape[2:])).astype(np.float32)
    labels[rng.random(labels.shape) < 0.1] = IGNORED
    labels.flat[0] = 0
    return [normal(*shape), labels]


def sequence(shape):
    """Steps (T, N, inputs) of sequences that begin at the first step."""
    cont = np.ones(shape[:2], np.float32)
    cont[0] = 0
    return [normal(*shape), cont]


# PyTorch's side: functions of `torch` and our layer that give a function of the bottoms, and the
# tensors besides them that learn.


def lrn_across(torch, layer):
    p = layer.layer_param.lrn_param
    norm = torch.nn.functional.local_response_norm
    return lambda x: norm(x, p.local_size, p.alpha, p.beta, p.k), []


def lrn_within(torch, layer):
    p = layer.layer_param.lrn_param
    mean = torch.nn.functional.avg_pool2d
    size, pad = p.local_size, p.local_size // 2
    return lambda x: x * (1 + p.alpha * mean(x * x, size, 1, pad)) ** -p.beta, []


def pooling(torch, layer):
    p = layer.layer_param.pooling_param
    name = "max_pool2d" if p.pool == caffe_pb2.PoolingParameter.MAX else "avg_pool2d"
    function = getattr(torch.nn.functional, name)
    return lambda x: function(x, p.kernel_size, p.stride, p.pad, ceil_mode=True), []


def softmax(torch, layer):
    return lambda x: torch.softmax(x, 1), []


def cross_entropy(torch, layer):
    loss = torch.nn.functional.cross_entropy
    # PyTorch wants whole numbers, which its users have from the start.
    return lambda x, labels: loss(x, labels, ignore_index=IGNORED), []


def batch_norm(torch, layer):
    norm = torch.nn.functional.batch_norm
    mean, variance = (torch.from_numpy(blob.data.copy()) for blob in layer.blobs[:2])
    return lambda x: norm(x, mean, variance, training=True), []


def relu(torch, layer):
    return torch.relu, []


def add(torch, layer):
    return torch.add, []


def linear(torch, layer):
    parameters = [torch.from_numpy(blob.data.copy()).requires_grad_() for blob in layer.blobs]
    return lambda x: torch.nn.functional.linear(x, *parameters), parameters


def lstm(torch, layer):
    weights, bias, recurrent = (blob.data for blob in layer.blobs)
    module = torch.nn.LSTM(weights.shape[1], recurrent.shape[1])
    # Ours has its gates in the order i, f, o, g; PyTorch's is i, f, g, o.
    state = {"weight_ih_l0": weights, "weight_hh_l0": recurrent, "bias_ih_l0": bias}
    state["bias_hh_l0"] = np.zeros_like(bias)
    for name, values in state.items():
        i, f, o, g = np.split(values, 4)
        state[name] = torch.from_numpy(np.concatenate([i, f, g, o]))
    module.load_state_dict(state)
    return lambda x, cont: module(x)[0], list(module.parameters())


class Case(NamedTuple):
    """A layer and its peer; `note` says why one of them must be slower."""

    what: str
    shape: tuple[int, ...]
    definition: str
    peer: Callable
    bottoms: Callable = one
    note: str = ""


LRN = 'type: "LRN" lrn_param'
POOLING = 'type: "Pooling" pooling_param'
FILLERS = 'weight_filler { type: "xavier" } bias_filler { type: "uniform" min: -1 }'
COPIES = "backward: PyTorch hands on one tensor; each Caffe blob has a diff of its own to fill"
CASES = (
    Case("LRN, AlexNet norm1", (16, 96, 55, 55), f"{LRN} {{ alpha: 1e-4 }}", lrn_across),
    Case("LRN, AlexNet norm2", (16, 256, 27, 27), f"{LRN} {{ alpha: 1e-4 }}", lrn_across),
    Case(
        "LRN within, CIFAR-10",
        (100, 32, 16, 16),
        f"{LRN} {{ norm_region: WITHIN_CHANNEL local_size: 3 alpha: 5e-5 }}",
        lrn_within,
    ),
    Case(
        "max pooling 3/2, AlexNet",
        (16, 96, 55, 55),
        f"{POOLING} {{ kernel_size: 3 stride: 2 }}",
        pooling,
    ),
    Case(
        "max pooling 2/2, VGG-16",
        (4, 64, 224, 224),
        f"{POOLING} {{ kernel_size: 2 stride: 2 }}",
        pooling,
    ),
    Case(
        "mean pooling 3/2, CIFAR-10",
        (100, 32, 16, 16),
        f"{POOLING} {{ pool: AVE kernel_size: 3 stride: 2 }}",
        pooling,
    ),
    Case(
        "mean pooling, ResNet pool5",
        (32, 2048, 7, 7),
        f"{POOLING} {{ pool: AVE kernel_size: 7 }}",
        pooling,
    ),
    Case("softmax, 1000 classes", (256, 1000), 'type: "Softmax"', softmax),
    Case("softmax, segmentation", (4, CLASSES, 320, 320), 'type: "Softmax"', softmax),
    Case(
        "softmax loss, 1000 classes",
        (256, 1000),
        f'type: "SoftmaxWithLoss" loss_param {{ ignore_label: {IGNORED} }}',
        cross_entropy,
        scores_and_labels,
    ),
    Case(
        "softmax loss, segmentation",
        (4, CLASSES, 320, 320),
        f'type: "SoftmaxWithLoss" loss_param {{ ignore_label: {IGNORED} }}',
        cross_entropy,
        scores_and_labels,
    ),
    Case("batch norm, ResNet", (16, 64, 56, 56), 'type: "BatchNorm"', batch_norm),
    Case("batch norm, ResNet", (16, 256, 14, 14), 'type: "BatchNorm"', batch_norm),
    Case("ReLU, VGG-16", (4, 64, 224, 224), 'type: "ReLU"', relu),
    Case("ReLU, ResNet", (16, 256, 14, 14), 'type: "ReLU"', relu),
    Case("Eltwise SUM, ResNet", (16, 256, 56, 56), 'type: "Eltwise"', add, two, COPIES),
    Case(
        "InnerProduct, AlexNet fc6",
        (32, 9216),
        f'type: "InnerProduct" inner_product_param {{ num_output: 4096 {FILLERS} }}',
        linear,
    ),
    Case(
        "InnerProduct, ResNet fc1000",
        (32, 2048),
        f'type: "InnerProduct" inner_product_param {{ num_output: 1000 {FILLERS} }}',
        linear,
    ),
    Case(
        "LSTM, 20 steps of 16",
        (20, 16, 256),
        f'type: "LSTM" recurrent_param {{ num_output: 256 {FILLERS} }}',
        lstm,
        sequence,
    ),
)
