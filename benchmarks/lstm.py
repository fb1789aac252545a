"""The LSTM layer against torch.nn.LSTM, in one process, with equal threads.

    python -m benchmarks.lstm                           wall-clock time; needs an idle machine
    python -m benchmarks.lstm --cpu-time --threads 1    processor time; for a busy machine

T steps of N streams with I inputs and H cells each, with equal weights and markers of 1. Forward is
a training pass; backward goes to the input and to all weights. Each line gives our time, PyTorch's,
and the ratio (below 1: we are faster).
"""

from __future__ import annotations

import argparse
import os

import numpy as np

from benchmarks.timing import compare, processor_time

# T, N, I, H: captioning as in LRCN, video, a character model, a large one, one step of generation.
SHAPES = ((20, 16, 1000, 256), (16, 24, 4096, 256), (50, 32, 64, 128), (20, 100, 512, 512))
GENERATION = (1, 1, 1000, 1000)


def our_layer(steps, streams, inputs, cells):
    """The layer after setup, with its bottoms and top."""
    from caffe_spn.blob import Blob
    from caffe_spn.layer import create_layer
    from caffe_spn.proto import caffe_pb2

    param = caffe_pb2.LayerParameter(name="lstm", type="LSTM")
    param.recurrent_param.num_output = cells
    for filler in (param.recurrent_param.weight_filler, param.recurrent_param.bias_filler):
        filler.type, filler.min, filler.max = "uniform", -(cells**-0.5), cells**-0.5
    layer, bottom, top = create_layer(param), [Blob((steps, streams, inputs))], [Blob()]
    bottom.append(Blob((steps, streams)))
    bottom[0].data[...] = np.random.default_rng(0).standard_normal(bottom[0].shape)
    bottom[1].data.fill(1)
    layer.setup(bottom, top)
    layer.reshape(bottom, top)
    layer.param_propagate_down = [True] * len(layer.blobs)
    return layer, bottom, top


def torch_module(layer):
    """torch.nn.LSTM with the weights of ours; its gates come in the order i, f, g, o."""
    import torch

    cells, inputs = layer.outputs, layer.blobs[0].shape[1]
    module = torch.nn.LSTM(inputs, cells)
    order = np.r_[0 : 2 * cells, 3 * cells : 4 * cells, 2 * cells : 3 * cells]
    w_x, bias, w_h = (torch.from_numpy(blob.data[order]) for blob in layer.blobs)
    with torch.no_grad():
        module.weight_ih_l0.copy_(w_x)
        module.weight_hh_l0.copy_(w_h)
        module.bias_ih_l0.copy_(bias)
        module.bias_hh_l0.zero_()
    return module


def passes(shape) -> dict:
    """For each pass: (ours, PyTorch's)."""
    import torch

    layer, bottom, top = our_layer(*shape)
    module = torch_module(layer)
    x = torch.from_numpy(bottom[0].data.copy()).requires_grad_()
    top_diff = np.random.default_rng(1).standard_normal(top[0].shape, dtype=np.float32)
    diff = torch.from_numpy(top_diff)
    leaves = [x, *module.parameters()]

    def ours():
        # PyTorch begins at zero.
        layer.reset()
        layer.reshape(bottom, top)
        layer.forward(bottom, top)

    def ours_both():
        ours()
        layer.backward(top, [True, False], bottom)

    def theirs_both():
        torch.autograd.grad(module(x)[0], leaves, diff)

    ours()
    top[0].diff[...] = top_diff
    with torch.no_grad():
        np.testing.assert_allclose(top[0].data, module(x)[0].numpy(), 1e-3, 1e-4)
    return {"forward": (ours, lambda: module(x)), "forward + backward": (ours_both, theirs_both)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cpu-time", action="store_true", help="processor time in place of time")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    os.environ["NUMBA_NUM_THREADS"] = str(options.threads)
    import torch

    torch.set_num_threads(options.threads)
    measure = processor_time if options.cpu_time else compare
    for shape in (*SHAPES, GENERATION):
        for name, (ours, theirs) in passes(shape).items():
            seconds = measure({"ours": ours, "torch": theirs}, repeats=options.repeats)
            disturbed = any(getattr(value, "disturbed", False) for value in seconds.values())
            print(
                f"{' x '.join(map(str, shape)):24} {name:20}"
                f" {seconds['ours'] * 1e3:8.2f} ms {seconds['torch'] * 1e3:8.2f} ms"
                f" {seconds['ours'] / seconds['torch']:6.2f}{' (disturbed)' if disturbed else ''}",
                flush=True,
            )


if __name__ == "__main__":
    main()
