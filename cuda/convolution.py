"""Convolution and its derivatives on the device, by whatever suits the shapes.

The functions, shapes and results are those of `caffe_spn.cpu.convolution`.

| what computes | takes |
| --- | --- |
| `depthwise` | one input channel for each group, up to two axes |
| `cudnn` | everything else with up to three axes, where the library is |
| `convolution_columns` | the rest, up to four axes: im2col and cuBLAS |
"""

from __future__ import annotations

import functools
import math

from caffe_spn.cuda import convolution_columns, depthwise, im2col, scale
from caffe_spn.cuda.arguments import check
from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.nvidia import libraries
from caffe_spn.cuda.nvidia.cudnn_descriptors import NotSupported
from caffe_spn.cuda.runtime import runtime
from caffe_spn.errors import ShapeError

# Spatial axes that there is a way for.
MOST_AXES = im2col.MOST_AXES
_CUDNN_AXES = 3

Shape = tuple[int, ...]


def forward(
    x: DeviceArray,
    weight: DeviceArray,
    bias: DeviceArray | None,
    y: DeviceArray,
    geometry,
    cudnn: bool = True,
) -> None:
    """Convolve x with weight.

    Parameters
    ----------
    x : DeviceArray (N, C, ...)
    weight : DeviceArray (K, C / group, ...)
    bias : DeviceArray (K,) or None
    y : DeviceArray (N, K, ...)
        Receives the result.
    geometry : Geometry
    cudnn : bool, default True
        Whether cuDNN may compute it.
    """
    _run("forward", x, weight, y, (x, weight, y), geometry, cudnn)
    _add_bias(y, bias)


def backward_data(
    y_diff: DeviceArray,
    weight: DeviceArray,
    bias: DeviceArray | None,
    x_diff: DeviceArray,
    geometry,
    cudnn: bool = True,
) -> None:
    """The derivative by x, which is the transposed convolution of y_diff.

    Parameters
    ----------
    y_diff : DeviceArray (N, K, ...)
    weight : DeviceArray (K, C / group, ...)
    bias : DeviceArray (C,) or None
        Added to the result, for `Deconvolution`.
    x_diff : DeviceArray (N, C, ...)
        Receives the result.
    geometry, cudnn
        As for `forward`.
    """
    operands = (y_diff, weight, x_diff)
    _run("backward_data", x_diff, weight, y_diff, operands, geometry, cudnn)
    _add_bias(x_diff, bias)


def backward_weights(
    y_diff: DeviceArray, x: DeviceArray, weight_diff: DeviceArray, geometry, cudnn: bool = True
) -> None:
    """Add the derivative by the weights to weight_diff; the rest as `backward_data`."""
    operands = (y_diff, x, weight_diff)
    _run("backward_weights", x, weight_diff, y_diff, operands, geometry, cudnn)


def backward_bias(y_diff: DeviceArray, bias_diff: DeviceArray) -> None:
    """Add the derivative by the bias: the sum over images and positions.

    Parameters
    ----------
    y_diff : DeviceArray (N, K, ...)
    bias_diff : DeviceArray (K,)
        Is added to.
    """
    scale.summand_gradient(y_diff, _around_channels(y_diff), bias_diff, accumulate=True)


@functools.lru_cache(maxsize=4096)
def choose(geometry, x: Shape, weight: Shape, y: Shape) -> str:
    """What suits arrays of these shapes: a name from the table above.

    Raises
    ------
    ShapeError
        If they are not those of a convolution.
    """
    axes = len(geometry.kernel)
    if not (
        len(x) == len(y) == len(weight) == axes + 2
        and x[0] == y[0]
        and weight == (y[1], x[1] // geometry.group, *geometry.kernel)
        and y[2:] == geometry.output_shape(x[2:])
    ):
        raise ShapeError(f"x {x} by {weight} is not {y} with {geometry}")
    if weight[1] == 1 and geometry.group > 1 and axes <= 2:
        return "depthwise"
    # cuDNN refuses a kernel that reaches beyond the padding, which Caffe lets by.
    margins = geometry.margins(x[2:], y[2:])
    inside = all(behind <= pad for (_, behind), pad in zip(margins, geometry.pad, strict=True))
    return "cudnn" if axes <= _CUDNN_AXES and inside else "columns"


def _run(name: str, x, weight, y, operands, geometry, cudnn: bool) -> None:
    chosen = choose(geometry, x.shape, weight.shape, y.shape)
    for array in operands:
        check(f"convolution {name}", array=array)
    gpu = runtime()
    if not (x.size and y.size):
        # Without images, or channels, there is nothing to add up.
        if operands[-1] is not weight and operands[-1].size:
            gpu.zero(operands[-1])
        return
    if len(geometry.kernel) < 2:
        geometry, operands = geometry.planar(), [_planes(a) for a in operands]
    if chosen == "cudnn":
        library = libraries.optional("cudnn", gpu) if cudnn else None
        if library is not None and _by_library(library, name, operands, geometry):
            gpu.launches += 1
            return
    kernels = depthwise if chosen == "depthwise" else convolution_columns
    getattr(kernels, name)(*operands, geometry)


def _by_library(library, name: str, operands, geometry) -> bool:
    """Whether cuDNN computed it."""
    try:
        getattr(library, name)(*operands, geometry)
    except NotSupported:
        return False
    return True


def _add_bias(y: DeviceArray, bias: DeviceArray | None) -> None:
    if bias is not None:
        scale.scale(y, y, _around_channels(y), summands=bias)


def _around_channels(array: DeviceArray) -> tuple[int, int, int]:
    return (*array.shape[:2], math.prod(array.shape[2:]))


def _planes(array: DeviceArray) -> DeviceArray:
    """The array with two spatial axes; missing ones are put in front of the last."""
    ones = (1,) * (4 - len(array.shape))
    return array.reshaped(*array.shape[:2], *ones, *array.shape[2:])
