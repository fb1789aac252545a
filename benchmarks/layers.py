"""The commonest layers against PyTorch, in one process, with equal threads.

    python -m benchmarks.layers              wall-clock time; needs an idle machine
    python -m benchmarks.layers --cpu-time   processor time; for a machine with other work
    python -m benchmarks.layers --tiny       small shapes, to try it out

The layers and shapes are those of `benchmarks.layer_cases`. A forward pass is what a net does in
training; a backward pass computes the gradients of the bottoms and of learned parameters. Each line
gives our time, PyTorch's, and the ratio (below 1: we are faster). That both compute the same is
checked first.
"""

from __future__ import annotations

import argparse
import os

import numpy as np

from benchmarks.convolution import report
from benchmarks.layer_cases import CASES, Case, normal
from caffe_spn.blob import Blob
from caffe_spn.layer import create_layer
from caffe_spn.proto import caffe_pb2, text

PASSES = ("forward", "backward")


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
