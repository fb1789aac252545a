"""Convolution, pooling and batch normalisation against PyTorch, in one process, with equal threads.

    python -m benchmarks.convolution              wall-clock time; needs an idle machine
    python -m benchmarks.convolution --cpu-time   processor time; for a machine with other work

The shapes are those of the shipped networks. Each line gives our time, PyTorch's, and the ratio
(below 1: we are faster). PyTorch takes memory for each result, as its users see it; ours has it.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import NamedTuple

import numpy as np

from caffe_spn.cpu import batch_norm, convolution, pooling
from caffe_spn.cpu.convolution_geometry import Geometry


class Shape(NamedTuple):
    """One layer: a batch of square maps and a square kernel."""

    what: str
    batch: int
    channels: int
    size: int
    outputs: int
    kernel: int = 3
    stride: int = 1
    pad: int = 1
    dilation: int = 1
    group: int = 1

    def geometry(self) -> Geometry:
        return Geometry.square(self.kernel, self.stride, self.pad, self.dilation, self.group)

    def __str__(self) -> str:
        return (
            f"{self.what:22} {self.batch:2}x{self.channels}x{self.size}x{self.size}"
            f" -> {self.outputs}, {self.kernel}x{self.kernel}"
        )


CONVOLUTIONS = (
    Shape("first layer", 10, 3, 128, 32),
    Shape("parser, stage 2", 10, 32, 64, 64),
    Shape("parser, stage 3", 10, 64, 32, 128),
    Shape("parser, stage 4", 10, 128, 16, 256),
    Shape("parser, stage 5", 10, 256, 8, 512),
    Shape("mask branch, stride 2", 10, 11, 128, 32, kernel=4, stride=2),
    Shape("class scores", 10, 64, 128, 11),
    Shape("VGG conv1_2", 4, 64, 128, 64),
    Shape("VGG conv3_2", 4, 256, 32, 256),
    Shape("VGG conv4_2", 4, 512, 16, 512),
    Shape("gates, 1x1", 10, 64, 64, 384, kernel=1, pad=0),
    Shape("5x5", 4, 32, 64, 64, kernel=5, pad=2),
    Shape("dilated", 4, 128, 32, 128, pad=2, dilation=2),
    Shape("grouped", 4, 64, 64, 64, group=4),
)
UPSAMPLING = (
    Shape("bilinear x2", 10, 32, 64, 32, kernel=4, stride=2, group=32),
    Shape("bilinear x2", 10, 256, 8, 256, kernel=4, stride=2, group=256),
)
MAPS = ((10, 32, 128, 128), (10, 256, 16, 16))


def processor_time(functions: dict, repeats: int) -> dict[str, float]:
    """Seconds of processor time of each function over all threads: the least of some runs."""
    best = dict.fromkeys(functions, float("inf"))
    for function in functions.values():
        function()
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.process_time()
            function()
            best[name] = min(best[name], time.process_time() - start)
    return best


def normal(*shape):
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def convolution_passes(shape: Shape, torch) -> dict:
    """For each pass: (ours, PyTorch's)."""
    g = shape.geometry()
    x = normal(shape.batch, shape.channels, shape.size, shape.size)
    w = normal(shape.outputs, shape.channels // shape.group, shape.kernel, shape.kernel)
    bias = normal(shape.outputs)
    y_diff = normal(shape.batch, shape.outputs, *g.output_shape(x.shape[2:]))
    y, x_diff, w_diff = np.empty_like(y_diff), np.empty_like(x), np.zeros_like(w)
    xt, wt, bt, dt = (torch.from_numpy(a) for a in (x, w, bias, y_diff))

    def backward(data: bool):
        return torch.ops.aten.convolution_backward(
            dt, xt, wt, None, g.stride, g.pad, g.dilation, False, [0, 0], g.group,
            [data, not data, False],
        )  # fmt: skip

    return {
        "forward": (
            lambda: convolution.forward(x, w, bias, y, g),
            lambda: torch.nn.functional.conv2d(xt, wt, bt, g.stride, g.pad, g.dilation, g.group),
        ),
        "backward to data": (
            lambda: convolution.backward_data(y_diff, w, None, x_diff, g),
            lambda: backward(True),
        ),
        "backward to weights": (
            lambda: convolution.backward_weights(y_diff, x, w_diff, g),
            lambda: backward(False),
        ),
    }


def upsampling_passes(shape: Shape, torch) -> dict:
    """The two passes of a bilinear Deconvolution whose weights are not learned."""
    g = shape.geometry()
    x = normal(shape.batch, shape.channels, shape.size, shape.size)
    w = normal(shape.channels, 1, shape.kernel, shape.kernel)
    y = normal(shape.batch, shape.channels, *g.transposed_shape(x.shape[2:]))
    x_diff, y_diff = np.empty_like(x), y.copy()
    xt, wt, dt = (torch.from_numpy(a) for a in (x, w, y_diff))
    return {
        "forward": (
            lambda: convolution.backward_data(x, w, None, y, g),
            lambda: torch.nn.functional.conv_transpose2d(
                xt, wt, None, g.stride, g.pad, 0, g.group
            ),
        ),
        "backward to data": (
            lambda: convolution.forward(y_diff, w, None, x_diff, g),
            lambda: torch.ops.aten.convolution_backward(
                dt, xt, wt, None, g.stride, g.pad, g.dilation, True, [0, 0], g.group,
                [True, False, False],
            ),
        ),
    }  # fmt: skip


def map_passes(shape, torch) -> dict:
    """Pooling by 2 and batch normalisation in training."""
    batch, channels, height, width = shape
    x = normal(*shape)
    planes = x.reshape(batch * channels, height, width)
    window = pooling.Window(2, 2, 2, 2)
    pooled = np.empty((len(planes), height // 2, width // 2), np.float32)
    mask = np.empty(pooled.shape, np.int32)
    x_diff = np.empty_like(x)
    xt = torch.from_numpy(x)
    _, indices = torch.nn.functional.max_pool2d(xt, 2, return_indices=True)
    dt = torch.from_numpy(normal(*indices.shape))
    diff = dt.numpy().reshape(pooled.shape)

    flat = x.reshape(batch, channels, -1)
    y, saved, y_diff = np.empty_like(flat), np.empty_like(flat), normal(*flat.shape)
    mean, variance = np.empty(channels, np.float32), np.empty(channels, np.float32)
    ft, yt = torch.from_numpy(flat), torch.from_numpy(y_diff)
    _, mean_t, inverse_t = torch.ops.aten.native_batch_norm(
        ft, None, None, None, None, True, 0.1, 1e-5
    )
    return {
        "max pooling forward": (
            lambda: pooling.max_forward(planes, pooled, mask, window),
            lambda: torch.nn.functional.max_pool2d(xt, 2, return_indices=True),
        ),
        "max pooling backward": (
            lambda: pooling.max_backward(diff, mask, x_diff.reshape(planes.shape)),
            lambda: torch.ops.aten.max_pool2d_with_indices_backward(
                dt, xt, [2, 2], [2, 2], [0, 0], [1, 1], False, indices
            ),
        ),
        "batch norm forward": (
            lambda: batch_norm.forward(flat, 1e-5, y, saved, mean, variance),
            lambda: torch.ops.aten.native_batch_norm(ft, None, None, None, None, True, 0.1, 1e-5),
        ),
        "batch norm backward": (
            lambda: batch_norm.backward(y_diff, saved, variance, 1e-5, x_diff.reshape(flat.shape)),
            lambda: torch.ops.aten.native_batch_norm_backward(
                yt, ft, None, None, None, mean_t, inverse_t, True, 1e-5, [True, False, False]
            ),
        ),
    }


def report(title: str, passes: dict, measure, repeats: int) -> list[float]:
    """Print a line for each pass; the ratios."""
    ratios = []
    for name, (ours, theirs) in passes.items():
        seconds = measure({"ours": ours, "torch": theirs}, repeats=repeats)
        ratios.append(seconds["ours"] / seconds["torch"])
        disturbed = any(getattr(value, "disturbed", False) for value in seconds.values())
        print(
            f"{title:46} {name:20} {seconds['ours'] * 1e3:8.2f} ms {seconds['torch'] * 1e3:8.2f} ms"
            f" {ratios[-1]:6.2f}{' (disturbed)' if disturbed else ''}",
            flush=True,
        )
    return ratios


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cpu-time", action="store_true", help="measure processor time")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args(argv)
    if options.cpu_time:
        # Threads that wait must sleep, or their waiting counts as work.
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        measure = processor_time
    else:
        from benchmarks.timing import compare as measure
    import numba
    import torch

    torch.set_num_threads(options.threads)
    numba.set_num_threads(options.threads)
    kind = "processor time" if options.cpu_time else "wall-clock time"
    print(f"{kind}, {options.threads} threads, PyTorch {torch.__version__}: ours, PyTorch's, ratio")
    ratios = []
    for shape in CONVOLUTIONS:
        passes = convolution_passes(shape, torch)
        ratios += report(str(shape), passes, measure, options.repeats)
    mean = np.exp(np.mean(np.log(ratios)))
    print(f"geometric mean of the ratios of {len(ratios)} convolution passes: {mean:.2f}")
    for shape in UPSAMPLING:
        report(str(shape), upsampling_passes(shape, torch), measure, options.repeats)
    for shape in MAPS:
        report("x".join(map(str, shape)), map_passes(shape, torch), measure, options.repeats)


if __name__ == "__main__":
    main()
