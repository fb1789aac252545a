"""One training step of the HELEN network, batch 10 of 128x128 patches, against PyTorch.

`python -m benchmarks.training_step` prints forward + backward + update with the propagation left
out of both and with it in both (PyTorch's as an eager loop over columns), and the peak memory of
each in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

import caffe_spn as caffe
from caffe_spn.proto import caffe_pb2, text

NETWORK = Path(caffe.__file__).parent.parent / "prototxt" / "helen_spn" / "train.prototxt"
BATCH = 10
LEARNING = {"lr": 1e-4, "momentum": 0.9, "weight_decay": 5e-4}


def definition(propagation: bool, batch: int = BATCH, size: int | None = None):
    """The training network with Input layers in the place of its data, with or without its SPN.

    Parameters
    ----------
    propagation : bool
    batch : int, optional
    size : int, optional
        Of the patches; by default what the network is trained with.
    """
    net = text.read(str(NETWORK), caffe_pb2.NetParameter)
    data = net.layer[0].segmentation_patch_param
    size, classes = size or data.patch_size, data.num_classes
    shapes = [(batch, channels, size, size) for channels in (3, classes, 1)]
    inputs = caffe_pb2.LayerParameter(name="data", type="Input", top=net.layer[0].top)
    for shape in shapes:
        inputs.input_param.shape.add(dim=shape)
    net.layer[0].CopyFrom(inputs)
    if not propagation:
        for layer in net.layer:
            if layer.type == "SpatialPropagation":
                # A layer that passes x on and gives its guidance a gradient at next to no cost.
                layer.ClearField("spatial_propagation_param")
                layer.type = "Python"
                layer.python_param.module = "benchmarks.training_step"
                layer.python_param.layer = "PassOn"
    return net


class PassOn(caffe.Layer):
    """y = x; the guidance gets a constant diff."""

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = top[0].diff
        bottom[1].diff.fill(1e-6)


def our_step(propagation: bool):
    """A function that runs one step of ours, and the net."""
    return step_of(definition(propagation))


def step_of(net):
    """A function that runs one step of a network with random inputs, and its Net."""
    solver = caffe_pb2.SolverParameter(
        net_param=net, base_lr=LEARNING["lr"], lr_policy="fixed", type="SGD"
    )
    solver.momentum, solver.weight_decay = LEARNING["momentum"], LEARNING["weight_decay"]
    solver.snapshot_after_train, solver.max_iter = False, 10**6
    solver.clip_gradients, solver.random_seed = 1000, 1
    solver = caffe.get_solver(solver)
    rng = np.random.default_rng(0)
    blobs = solver.net.blobs
    blobs["image"].data[...] = rng.uniform(0, 255, blobs["image"].shape)
    blobs["coarse"].data[...] = rng.dirichlet(
        np.ones(blobs["coarse"].shape[1]), (len(blobs["coarse"].data), *blobs["coarse"].shape[2:])
    ).transpose(0, 3, 1, 2)
    blobs["label"].data[...] = rng.integers(0, blobs["coarse"].shape[1], blobs["label"].shape)
    return (lambda: solver.step(1)), solver.net


def torch_step(net, propagation: bool):
    """A function that runs one step of the same network in PyTorch."""
    import torch

    from benchmarks.recurrence import torch_propagation
    from benchmarks.torch_net import TorchNet

    def units(param, x, guidance):
        for _ in range(param.units):
            x = torch_propagation(x, guidance, 3)
        return x

    model = TorchNet(net, units if propagation else None)
    inputs = {name: torch.tensor(net.blobs[name].data) for name in ("image", "coarse", "label")}
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, **LEARNING)

    def step():
        optimizer.zero_grad()
        model(**inputs).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1000)
        optimizer.step()

    return step


def peak_memory(which: str, propagation: bool) -> int:
    """Bytes that two steps add to a process of their own, at its peak."""
    command = [sys.executable, "-m", "benchmarks.training_step", "--memory", which]
    command += [] if propagation else ["--without-propagation"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _measure_memory(which: str, propagation: bool) -> int:
    if which == "torch":
        import torch  # noqa: F401  its libraries are not memory of the step

        # The weights come from a net whose own memory must not count.
        net = caffe.Net(definition(propagation), caffe.TRAIN)
        for name in ("image", "coarse", "label"):
            net.blobs[name].data.fill(0)
        before = _peak()
        step = torch_step(net, propagation)
    else:
        caffe.Net(definition(propagation), caffe.TRAIN)
        before = _peak()
        step, _ = our_step(propagation)
    step()
    step()
    return _peak() - before


def _peak() -> int:
    # Not getrusage: its maximum begins with the memory of the process that started this one.
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memory", choices=("ours", "torch"))
    parser.add_argument("--without-propagation", action="store_true")
    options = parser.parse_args(argv)
    if options.memory:
        print(_measure_memory(options.memory, not options.without_propagation))
        return
    from benchmarks.timing import compare

    print(f"training step of {NETWORK.parent.name}, batch {BATCH}")
    for propagation in (False, True):
        ours, net = our_step(propagation)
        theirs = torch_step(net, propagation)
        result = compare({"ours": ours, "torch": theirs}, repeats=7)
        memory = {which: peak_memory(which, propagation) for which in ("ours", "torch")}
        print(
            f"  {'with' if propagation else 'without'} propagation:"
            f" ours {result['ours'] * 1e3:.0f} ms, PyTorch {result['torch'] * 1e3:.0f} ms,"
            f" ratio {result['ours'] / result['torch']:.2f}"
            f"{' (disturbed)' if result['ours'].disturbed or result['torch'].disturbed else ''};"
            f" peak memory ours {memory['ours'] / 2**20:.0f} MiB,"
            f" PyTorch {memory['torch'] / 2**20:.0f} MiB",
            flush=True,
        )


if __name__ == "__main__":
    main()
