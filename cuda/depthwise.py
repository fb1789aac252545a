"""Launches ``depthwise.cu``: convolution in which every output channel reads one input channel."""

from __future__ import annotations

from caffe_spn.cuda.arguments import check
from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.im2col import Window
from caffe_spn.cuda.runtime import THREADS, blocks, runtime
from caffe_spn.errors import ShapeError

SOURCE = "depthwise.cu"
# Kernel, stride, dilation and outputs for each channel of what networks sample up by.
DOUBLE = ((4, 4), (2, 2), (1, 1), 1)


def forward(x: DeviceArray, w: DeviceArray, y: DeviceArray, geometry) -> None:
    """y = x convolved with w.

    Parameters
    ----------
    x, w, y : DeviceArray
        (N, C, H, W), (K, 1, kh, kw), (N, K, Ho, Wo), with K a multiple of C.
    geometry : Geometry
    """
    axes, repeat = _sizes("depthwise_forward", x, w, y, geometry)
    if y.size:
        arguments = (x, w, y, y.size, y.shape[1], repeat, *axes)
        runtime().launch(SOURCE, "depthwise_forward", blocks(y.size), THREADS, *arguments)


def backward_data(y_diff: DeviceArray, w: DeviceArray, x_diff: DeviceArray, geometry) -> None:
    """x_diff = the transposed convolution of y_diff with w; shapes as for `forward`."""
    axes, repeat = _sizes("depthwise_backward_data", x_diff, w, y_diff, geometry)
    if not x_diff.size:
        return
    kernel, arguments = "depthwise_backward_data", (repeat, *axes)
    if (geometry.kernel, geometry.stride, geometry.dilation, repeat) == DOUBLE:
        kernel = "depthwise_double"
        arguments = (*x_diff.shape[2:], *geometry.pad, *y_diff.shape[2:])
    count, channels = x_diff.size, x_diff.shape[1]
    arguments = (y_diff, w, x_diff, count, channels, *arguments)
    runtime().launch(SOURCE, kernel, blocks(count), THREADS, *arguments)


def backward_weights(y_diff: DeviceArray, x: DeviceArray, w_diff: DeviceArray, geometry) -> None:
    """Add to w_diff the derivative by the weights; shapes as for `forward`."""
    axes, repeat = _sizes("depthwise_backward_weights", x, w_diff, y_diff, geometry)
    if w_diff.size and y_diff.size:
        arguments = (y_diff, x, w_diff, *y_diff.shape[:2], repeat, *axes)
        runtime().launch(SOURCE, "depthwise_backward_weights", w_diff.size, THREADS, *arguments)


def _sizes(kernel: str, x, w, y, geometry) -> tuple[list[int], int]:
    """Both axes' numbers, as the kernels take them, and outputs for each channel."""
    for name, array in (("x", x), ("w", w), ("y", y)):
        check(f"{kernel} ({name})", array=array)
    images, channels = x.shape[:2]
    outputs = y.shape[1]
    if (
        len(x.shape) != 4
        or y.shape[0] != images
        or not channels
        or outputs % channels
        or w.shape != (outputs, 1, *geometry.kernel)
        or geometry.group != channels
    ):
        raise ShapeError(
            f"{kernel}: x {x.shape}, w {w.shape}, y {y.shape} in {geometry.group} groups; it needs"
            " as many groups as x has channels, and w with one channel for each of y's"
        )
    return Window(geometry, x.shape[2:], y.shape[2:]).numbers, outputs // channels
