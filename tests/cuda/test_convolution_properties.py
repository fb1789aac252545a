"""Convolution on a GPU, whatever the sizes: each way against the convolution in plain NumPy."""

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from caffe_spn.cpu import convolution_numpy
from caffe_spn.cpu.convolution_geometry import Geometry
from caffe_spn.cuda import convolution
from caffe_spn.cuda.nvidia import libraries
from tests.cuda.arrays import down, empty, normal, up


@st.composite
def convolutions(draw):
    """Shapes of x, w and y, and the geometry, on one to three axes."""
    axes = draw(st.integers(1, 3))

    def numbers(least, most):
        return tuple(draw(st.lists(st.integers(least, most), min_size=axes, max_size=axes)))

    group = draw(st.sampled_from([1, 1, 2, 3]))
    geometry = Geometry(numbers(1, 4), numbers(1, 3), numbers(0, 3), numbers(1, 3), group)
    spatial = numbers(1, 7)
    out = geometry.output_shape(spatial)
    assume(min(out) > 0)
    images, channels, outputs = (draw(st.integers(1, 3)) for _ in range(3))
    x = (images, channels * group, *spatial)
    w = (outputs * group, channels, *geometry.kernel)
    return x, w, (images, outputs * group, *out), geometry


def close(got, wanted):
    np.testing.assert_allclose(down(got), wanted, 1e-4, 1e-4)


@pytest.mark.parametrize("way", ["cudnn", "columns"])
@given(case=convolutions())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_as_in_numpy(gpu, way, case):
    if way == "columns":
        gpu.libraries["cudnn"] = libraries.Missing()
    *shapes, geometry = case
    x, w, y_diff = (normal(*shape, seed=i) for i, shape in enumerate(shapes))
    bias, bias_diff = normal(len(w), seed=3), normal(len(w), seed=4)
    on_device = {"x": up(x), "w": up(w), "y_diff": up(y_diff), "bias": up(bias)}

    y, wanted = empty(y_diff.shape), np.empty_like(y_diff)
    convolution.forward(on_device["x"], on_device["w"], on_device["bias"], y, geometry)
    convolution_numpy.forward(x, w, bias, wanted, geometry)
    close(y, wanted)

    x_diff, wanted = empty(x.shape), np.empty_like(x)
    convolution.backward_data(on_device["y_diff"], on_device["w"], None, x_diff, geometry)
    convolution_numpy.backward_data(y_diff, w, None, wanted, geometry)
    close(x_diff, wanted)

    w_diff = up(w)
    convolution.backward_weights(on_device["y_diff"], on_device["x"], w_diff, geometry)
    convolution_numpy.backward_weights(y_diff, x, w, geometry)
    close(w_diff, w)

    sums = up(bias_diff)
    convolution.backward_bias(on_device["y_diff"], sums)
    close(sums, bias_diff + y_diff.sum(axis=(0, *range(2, y_diff.ndim))))
