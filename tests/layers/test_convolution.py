import itertools

import numpy as np
import pytest

from caffe_spn.blob import Blob
from caffe_spn.errors import PrototxtError, ShapeError
from caffe_spn.gradient_check import check_gradients
from tests import golden_cases
from tests.layers.convolving import (
    check_accumulation,
    check_forward,
    output_size,
    under_kernel,
)
from tests.layers.running import Run, normal


def definition(rest):
    return f'type: "Convolution" convolution_param {{ {rest} }}'


def expected(x, w, bias, stride=(1, 1), pad=(0, 0), dilation=(1, 1), group=1):
    """One multiplication at a time."""
    outputs, channels, *kernel = w.shape
    out = output_size(x.shape[2:], kernel, stride, pad, dilation)
    y = np.zeros((len(x), outputs, *out))
    for n, k, *position in np.ndindex(*y.shape):
        first = k // (outputs // group) * channels
        total = float(bias[k])
        for offset, pixel in under_kernel(position, kernel, x.shape[2:], stride, pad, dilation):
            for c in range(channels):
                total += float(w[(k, c, *offset)]) * float(x[(n, first + c, *pixel)])
        y[(n, k, *position)] = total
    return y


# Parameters as text, the shape of the bottom, and the same as arguments of `expected`.
CASES = {
    "one pixel": ("num_output: 2 kernel_size: 1", (1, 1, 1, 1), {}),
    "batch": ("num_output: 3 kernel_size: 3", (2, 2, 5, 4), {}),
    "row kernel": ("num_output: 2 kernel_h: 1 kernel_w: 3 pad_w: 1", (2, 2, 3, 5), {"pad": (0, 1)}),
    "stride": (
        "num_output: 2 kernel_size: 4 stride: 2 pad: 1",
        (1, 3, 8, 6),
        {"stride": (2, 2), "pad": (1, 1)},
    ),
    "lists": (
        "num_output: 2 kernel_size: [2, 3] stride: [1, 2] pad: [1, 0] dilation: [2, 1]",
        (2, 1, 4, 7),
        {"stride": (1, 2), "pad": (1, 0), "dilation": (2, 1)},
    ),
    "stride_h, stride_w": (
        "num_output: 2 kernel_size: 2 stride_h: 2 stride_w: 1",
        (1, 2, 5, 4),
        {"stride": (2, 1)},
    ),
    "group": ("num_output: 4 kernel_size: 2 group: 2", (2, 6, 3, 4), {"group": 2}),
    "depthwise": (
        "num_output: 6 kernel_size: 3 group: 3 pad: 1",
        (2, 3, 4, 5),
        {"group": 3, "pad": (1, 1)},
    ),
    "beyond the edge by less than a stride": (
        "num_output: 2 kernel_size: 3 stride: 2",
        (2, 3, 2, 6),
        {"stride": (2, 2)},
    ),
    "the same, depthwise": (
        "num_output: 3 group: 3 kernel_size: 2 dilation: 3 stride: 3",
        (2, 3, 5, 2),
        {"stride": (3, 3), "dilation": (3, 3), "group": 3},
    ),
    "engine": (
        "num_output: 2 kernel_size: 3 engine: CUDNN force_nd_im2col: true",
        (1, 2, 4, 3),
        {},
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_forward(case):
    text, shape, arguments = case
    check_forward(definition(text), shape, expected, **arguments)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_gradient(case):
    check_gradients(definition(case[0]), [case[1]], threshold=1e-5)


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("num_output: 2 kernel_size: 2", (2, 2, 5)),
        ("num_output: 2 kernel_size: 2 stride: [1, 2, 1] bias_term: false", (1, 2, 3, 4, 3)),
        ("num_output: 2", (3, 4)),
        ("num_output: 2 kernel_size: 2 axis: 2", (2, 2, 2, 3, 3)),
        ("num_output: 2 kernel_size: 2 axis: -3 pad: 1", (2, 2, 2, 3, 3)),
    ],
)
def test_gradient_for_other_axes(text, shape):
    check_gradients(definition(text), [shape], threshold=1e-5)


def test_gradients_of_two_bottoms_add_up():
    check_gradients(definition("num_output: 2 kernel_size: 2"), [(2, 2, 3, 4)] * 2, tops=2)


def test_parameter_gradients_accumulate():
    check_accumulation(definition("num_output: 17 kernel_size: 3"), (2, 16, 5, 6))


def test_only_wanted_gradients_are_written():
    run = Run(definition("num_output: 2 kernel_size: 1"), normal(1, 2, 3, 3))
    run.layer.param_propagate_down = [False, True]
    (bottom_diff,) = run.backward(np.ones((1, 2, 3, 3)), propagate=[False])
    assert not bottom_diff.any()
    assert not run.layer.blobs[0].diff.any()
    np.testing.assert_array_equal(run.layer.blobs[1].diff, [9, 9])


def test_axis_makes_the_axes_before_it_images():
    x, w = normal(2, 3, 4, 5, 6), normal(2, 4, 2, 2, seed=1)
    text = "num_output: 2 kernel_size: 2 axis: 2 bias_term: false"
    run = Run(definition(text), x, params=[w])
    for n, d in itertools.product(range(2), range(3)):
        wanted = expected(x[n, d][None], w, [0, 0])
        np.testing.assert_allclose(run.out[n, d], wanted[0], 1e-5, 1e-5)


def test_the_batch_may_change():
    run = Run(definition("num_output: 2 kernel_size: 3 pad: 1"), normal(1, 2, 4, 4))
    run.bottom[0].reshape(3, 2, 7, 5)
    run.forward()
    assert run.out.shape == (3, 2, 7, 5)


def test_nan_propagates():
    x = normal(1, 2, 5, 5)
    x[0, 1, 2, 2] = np.nan
    out = Run(definition("num_output: 2 kernel_size: 3 pad: 1"), x).out
    assert np.isnan(out[:, :, 1:4, 1:4]).all()
    assert np.isnan(out).sum() == 2 * 9


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("num_output: 2", r"has kernel_size 0 times for 2 spatial axes"),
        ("num_output: 2 kernel_size: [3, 3, 3]", r"has kernel_size 3 times for 2 spatial axes"),
        ("num_output: 2 kernel_size: 3 stride: [1, 1, 1]", r"has stride 3 times"),
        ("num_output: 2 kernel_size: 3 dilation: [1, 1, 1]", r"has dilation 3 times"),
        ("num_output: 2 kernel_size: 3 pad: [1, 1, 1]", r"has pad 3 times"),
        ("num_output: 2 kernel_size: 0", r"has kernel_size \(0, 0\); each must be positive"),
        ("num_output: 2 kernel_h: 3", r"has kernel_size \(3, 0\); each must be positive"),
        ("num_output: 2 kernel_size: 3 stride: 0", r"has stride \(0, 0\); each must be positive"),
        ("num_output: 2 kernel_size: 3 kernel_h: 3", r"has both kernel_size and kernel_h"),
        ("num_output: 2 kernel_size: 3 pad: 1 pad_w: 1", r"has both pad and pad_h and pad_w"),
        ("kernel_size: 3", r"has num_output 0; it must be positive"),
        ("num_output: 6 kernel_size: 3 group: 3", r"group 3, .* its bottom's channels, 4"),
        ("num_output: 3 kernel_size: 3 group: 2", r"group 2, .* its num_output, 3"),
        ("num_output: 2 kernel_size: 3 group: 0", r"group 0, .* its bottom's channels, 4"),
    ],
)
def test_parameters_must_make_sense(text, message):
    with pytest.raises(PrototxtError, match=message) as error:
        Run(definition(text), normal(1, 4, 6, 6))
    assert error.value.help


def test_h_and_w_are_for_two_axes():
    with pytest.raises(PrototxtError, match=r"kernel_h and kernel_w, .* its bottom has 1"):
        Run(definition("num_output: 2 kernel_h: 3 kernel_w: 3"), normal(1, 4, 6))


def test_axis_must_exist():
    with pytest.raises(ShapeError, match=r"axis 4 is out of range for a 4-D blob"):
        Run(definition("num_output: 2 kernel_size: 1 axis: 4"), normal(1, 4, 6, 6))


def test_kernel_must_fit():
    with pytest.raises(ShapeError, match=r"would give a top of spatial shape \(-2, -3\)"):
        Run(definition("num_output: 2 kernel_size: 9"), normal(1, 4, 6, 5))


def test_one_top_for_each_bottom():
    with pytest.raises(PrototxtError, match=r"has 1 bottom\(s\) and 2 top\(s\)"):
        Run(definition("num_output: 2 kernel_size: 1"), normal(1, 4, 6, 6), tops=2)


def test_bottoms_must_agree():
    with pytest.raises(ShapeError, match=r"bottom 1 is \(1, 4, 5, 6\); .* \(1, 4, 6, 6\)"):
        text = definition("num_output: 2 kernel_size: 1")
        Run(text, normal(1, 4, 6, 6), normal(1, 4, 5, 6), tops=2)


def test_channels_must_not_change():
    run = Run(definition("num_output: 2 kernel_size: 1"), normal(1, 4, 6, 6))
    run.bottom[0].reshape(1, 3, 6, 6)
    with pytest.raises(ShapeError, match=r"bottom 0 is \(1, 3, 6, 6\); .* 4 channels"):
        run.forward()


def test_given_weights_must_fit():
    layer = Run(definition("num_output: 2 kernel_size: 1"), normal(1, 4, 6, 6)).layer
    layer.blobs[0] = Blob((2, 3, 1, 1))
    bottom = Blob((1, 4, 6, 6))
    with pytest.raises(ShapeError, match=r"was given blobs of shapes \[\(2, 3, 1, 1\), \(2,\)\]"):
        layer.setup([bottom], [Blob()])


def test_not_in_place():
    with pytest.raises(PrototxtError, match="cannot compute in place"):
        Run(definition("num_output: 4 kernel_size: 1"), normal(1, 4, 2, 2), in_place=True)


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("Convolution",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
