"""The commonest layers against PyTorch, in one process, with equal threads.

    python -m benchmarks.layers              wall-clock time; needs an idle machine
    python -m benchmarks.layers --cpu-time   processor time; for a machine with other work
    python -m benchmarks.layers --tiny       small shapes, to try it out

Shapes are those of AlexNet, VGG-16, ResNet-50, CIFAR-10 and segmentation networks. A forward pass
is what a net does in training; a backward pass computes the gradients of the bottoms and of learned
parameters. Each line gives our time, PyTorch's, and the ratio (below 1: we are faster). That both
compute the same is checked first.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from benchmarks.convolution import report
from caffe_spn.blob import Blob
from caffe_spn.layer import create_layer
from caffe_spn.proto import caffe_pb2, text

CLASSES = 21
IGNORED = 255
PASSES = ("forward", "backward")


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


class Ours:
    """A layer that was set up, with diffs in its top."""

    def __init__(self, case: Case, arrays):
        self.layer = create_layer(text.parse(case.definition, caffe_pb2.LayerParameter(), "<case>"))
        self.layer.layer_param.name = case.what
        self.bottom = [Blob(array.shape) for array in arrays]
        for blob, array in zip(self.bottom, arrays, strict=True):
            blob.data[...] = array
        self.top = [Blob()]
        self.layer.setup(self.bottom, self.top)
        self.layer.param_propagate_down = [True] * len(self.layer.blobs)
        self.wanted = [self.layer.allow_force_backward(i) for i in range(len(arrays))]
        self.forward()
        self.top[0].diff[...] = 1 if self.layer.is_loss else normal(*self.top[0].shape, seed=2)

    def forward(self) -> None:
        self.layer.reshape(self.bottom, self.top)
        self.layer.forward(self.bottom, self.top)

    def backward(self) -> None:
        self.layer.backward(self.top, self.wanted, self.bottom)

    @property
    def gradients(self) -> list[np.ndarray]:
        return [blob.diff for blob, w in zip(self.bottom, self.wanted, strict=True) if w]


class Theirs:
    """The same in PyTorch."""

    def __init__(self, case: Case, arrays, ours: Ours, torch):
        self.torch = torch
        self.inputs = [torch.from_numpy(array.copy()) for array in arrays]
        if ours.layer.is_loss:
            self.inputs[1] = self.inputs[1].long()
        bottoms = [x for x, w in zip(self.inputs, ours.wanted, strict=True) if w]
        for x in bottoms:
            x.requires_grad_()
        self.function, learned = case.peer(torch, ours.layer)
        self.leaves = bottoms + learned
        self.y = self.function(*self.inputs)
        self.y_diff = torch.from_numpy(np.array(ours.top[0].diff))

    def forward(self) -> None:
        self.function(*self.inputs)

    def backward(self):
        return self.torch.autograd.grad(self.y, self.leaves, self.y_diff, retain_graph=True)


def check(ours: Ours, theirs: Theirs) -> None:
    """Raise AssertionError unless both give the same results."""
    ours.forward()
    ours.backward()
    np.testing.assert_allclose(ours.top[0].data, theirs.y.detach().numpy(), 1e-3, 1e-4)
    found = theirs.backward()
    for mine, other in zip(ours.gradients, found, strict=False):
        np.testing.assert_allclose(mine, other.numpy(), 1e-3, 1e-4)


def tiny(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(min(size, limit) for size, limit in zip(shape, (2, 8, 9, 9), strict=False))


def pair(case: Case, torch, small: bool = False) -> tuple[Ours, Theirs]:
    """Both sides of a case, checked against each other."""
    arrays = case.bottoms(tiny(case.shape) if small else case.shape)
    ours = Ours(case, arrays)
    theirs = Theirs(case, arrays, ours, torch)
    check(ours, theirs)
    return ours, theirs


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cpu-time", action="store_true", help="measure processor time")
    parser.add_argument("--tiny", action="store_true", help="small shapes")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args(argv)
    if options.cpu_time:
        # Threads that wait must sleep, or their waiting counts as work.
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        from benchmarks.timing import processor_time as measure
    else:
        from benchmarks.timing import compare as measure
    import numba
    import torch

    torch.set_num_threads(options.threads)
    numba.set_num_threads(options.threads)
    kind = "processor time" if options.cpu_time else "wall-clock time"
    print(f"{kind}, {options.threads} threads, PyTorch {torch.__version__}: ours, PyTorch's, ratio")
    for case in CASES:
        ours, theirs = pair(case, torch, options.tiny)
        passes = {name: (getattr(ours, name), getattr(theirs, name)) for name in PASSES}
        shape = "x".join(map(str, ours.bottom[0].shape))
        report(f"{case.what:28} {shape}", passes, measure, options.repeats)
        if case.note:
            print(f"    {case.note}")


if __name__ == "__main__":
    main()
