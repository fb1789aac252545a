"""Convolution and its derivatives, by whichever kernel suits the shapes.

    y[n, k, p] = bias[k] + sum over c, o of w[k, c, o] x[n, c, p stride - pad + o dilation]

for output positions p and kernel offsets o on any number of spatial axes; with groups, outputs of
group g see the input channels of group g only. `Deconvolution` is `backward_data` of this.

| kernel | takes | source |
| --- | --- | --- |
| `convolution_depthwise` | one input channel for each group | sums of shifted rows |
| `convolution_winograd` | 3x3, stride 1, 16 and more channels | matrix products in tile space |
| `convolution_panels` | any other float32 map with up to 2 axes | im2col and matrix products |
| `convolution_numpy` | everything else | matrix products of whole maps |
"""

from __future__ import annotations

import importlib

import numpy as np

from caffe_spn import cpu
from caffe_spn.cpu.convolution_geometry import Geometry

# Below these the transforms cost more than Winograd's products save.
WINOGRAD_CHANNELS = 16
WINOGRAD_OUTPUTS = 8


def forward(x, weight, bias, y, geometry: Geometry) -> None:
    """Convolve x with weight.

    Parameters
    ----------
    x : array (N, C, ...)
    weight : array (K, C / group, ...)
    bias : array (K,) or None
    y : array (N, K, ...)
        Receives the result.
    geometry : Geometry
    """
    with cpu.parallel_section():
        kernels, geometry, (x, weight, y) = _select(geometry, x, weight, y)
        kernels.forward(x, weight, bias, y, geometry)


def backward_data(y_diff, weight, bias, x_diff, geometry: Geometry) -> None:
    """The derivative by x, which is the transposed convolution of y_diff.

    Parameters
    ----------
    y_diff : array (N, K, ...)
    weight : array (K, C / group, ...)
    bias : array (C,) or None
        Added to the result, for `Deconvolution`.
    x_diff : array (N, C, ...)
        Receives the result.
    geometry : Geometry
    """
    with cpu.parallel_section():
        kernels, geometry, (x_diff, weight, y_diff) = _select(geometry, x_diff, weight, y_diff)
        kernels.backward_data(y_diff, weight, bias, x_diff, geometry)


def backward_weights(y_diff, x, weight_diff, geometry: Geometry) -> None:
    """Add the derivative by the weights.

    Parameters
    ----------
    y_diff : array (N, K, ...)
    x : array (N, C, ...)
    weight_diff : array (K, C / group, ...)
        Is added to.
    geometry : Geometry
    """
    with cpu.parallel_section():
        kernels, geometry, (x, weight_diff, y_diff) = _select(geometry, x, weight_diff, y_diff)
        kernels.backward_weights(y_diff, x, weight_diff, geometry)


def backward_bias(y_diff, bias_diff) -> None:
    """Add the derivative by the bias: the sum over images and positions.

    Parameters
    ----------
    y_diff : array (N, K, ...)
    bias_diff : array (K,)
        Is added to.
    """
    if _compiled_suits(y_diff, bias_diff) and y_diff.size:
        from caffe_spn.cpu.channel_sums import add_channel_sums

        with cpu.parallel_section():
            add_channel_sums(y_diff.reshape(*y_diff.shape[:2], -1), bias_diff)
    else:
        bias_diff += y_diff.sum(axis=(0, *range(2, y_diff.ndim)))


def choose(geometry: Geometry, x, weight, y) -> str:
    """The name of the kernel that suits arrays of these shapes and types."""
    if len(geometry.kernel) > 2 or not (x.size and y.size):
        return "numpy"
    if not _compiled_suits(x, weight, y):
        return "numpy"
    if weight.shape[1] == 1 and geometry.group > 1:
        return "depthwise"
    from caffe_spn.cpu.blas import sgemm_address

    if not sgemm_address():
        return "numpy"
    if (
        geometry.kernel == (3, 3)
        and geometry.stride == geometry.dilation == (1, 1)
        and max(geometry.pad) <= 2
        and geometry.group == 1
        and min(x.shape[1], y.shape[1]) >= WINOGRAD_OUTPUTS
        and max(x.shape[1], y.shape[1]) >= WINOGRAD_CHANNELS
    ):
        return "winograd"
    return "panels"


def _compiled_suits(*arrays) -> bool:
    return cpu.compiled() and all(a.dtype == np.float32 and a.flags.c_contiguous for a in arrays)


def _select(geometry: Geometry, x, weight, y):
    """The module to call, and geometry and arrays in the form that it takes."""
    name = choose(geometry, x, weight, y)
    kernels = importlib.import_module(f"caffe_spn.cpu.convolution_{name}")
    if name == "numpy":
        return kernels, geometry, (x, weight, y)
    return kernels, geometry.planar(), tuple(_planes(a) for a in (x, weight, y))


def _planes(array):
    """The array with four axes; missing spatial ones are put in front of the last."""
    ones = (1,) * (4 - array.ndim)
    return array.reshape(*array.shape[:2], *ones, *array.shape[2:])
