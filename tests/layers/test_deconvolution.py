import numpy as np
import pytest

from caffe_spn.errors import PrototxtError, ShapeError
from caffe_spn.gradient_check import check_gradients
from tests import golden_cases
from tests.layers.convolving import check_accumulation, check_forward, under_kernel
from tests.layers.running import Run, normal

BILINEAR = (
    "num_output: {0} group: {0} kernel_size: {1} stride: {2} pad: {3} bias_term: false"
    ' weight_filler {{ type: "bilinear" }}'
)


def definition(rest):
    return f'type: "Deconvolution" convolution_param {{ {rest} }}'


def expected(x, w, bias, stride=(1, 1), pad=(0, 0), dilation=(1, 1), group=1):
    """Every pixel spread by the kernel, one multiplication at a time."""
    batch, channels, *size = x.shape
    outputs, kernel = w.shape[1], w.shape[2:]
    axes = zip(size, kernel, stride, pad, dilation, strict=True)
    out = [s * (n - 1) + d * (k - 1) + 1 - 2 * p for n, k, s, p, d in axes]
    y = np.zeros((batch, group * outputs, *out)) + bias.reshape(-1, *[1] * len(out))
    for n, c, *position in np.ndindex(*x.shape):
        first = c // (channels // group) * outputs
        for offset, pixel in under_kernel(position, kernel, out, stride, pad, dilation):
            for k in range(outputs):
                product = float(w[(c, k, *offset)]) * float(x[(n, c, *position)])
                y[(n, first + k, *pixel)] += product
    return y


# Parameters as text, the shape of the bottom, and the same as arguments of `expected`.
CASES = {
    "one pixel": ("num_output: 1 kernel_size: 1", (1, 1, 1, 1), {}),
    "batch": ("num_output: 3 kernel_size: 3", (2, 2, 5, 4), {}),
    "upsampling": (
        "num_output: 3 group: 3 kernel_size: 4 stride: 2 pad: 1",
        (2, 3, 3, 5),
        {"group": 3, "stride": (2, 2), "pad": (1, 1)},
    ),
    "unequal": (
        "num_output: 2 kernel_h: 2 kernel_w: 3 stride_h: 3 stride_w: 1 pad_h: 0 pad_w: 1",
        (1, 2, 2, 4),
        {"stride": (3, 1), "pad": (0, 1)},
    ),
    "group, dilation": (
        "num_output: 4 group: 2 kernel_size: 2 dilation: 2",
        (2, 2, 3, 2),
        {"group": 2, "dilation": (2, 2)},
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_forward(case):
    text, shape, arguments = case
    check_forward(definition(text), shape, expected, **arguments)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_gradient(case):
    check_gradients(definition(case[0]), [case[1]], threshold=1e-5)


def test_gradient_with_three_axes():
    text = "num_output: 2 kernel_size: 2 stride: [1, 2, 1] bias_term: false"
    check_gradients(definition(text), [(1, 2, 2, 3, 2)], threshold=1e-5)


@pytest.mark.parametrize(("kernel", "stride", "pad"), [(4, 2, 1), (5, 3, 1), (8, 4, 2)])
def test_bilinear_upsampling_keeps_a_constant_inside(kernel, stride, pad):
    text = BILINEAR.format(5, kernel, stride, pad)
    out = Run(definition(text), np.full((2, 5, 6, 7), 3)).out
    assert out.shape == (2, 5, 6 * stride, 7 * stride)
    np.testing.assert_allclose(out[:, :, stride:-stride, stride:-stride], 3, 1e-6)


def test_bilinear_upsampling_of_a_ramp_is_a_ramp():
    ramp = np.broadcast_to(np.arange(8.0), (1, 3, 4, 8))
    out = Run(definition(BILINEAR.format(3, 4, 2, 1)), ramp).out
    wanted = (np.arange(16) - 0.5) / 2
    np.testing.assert_allclose(out[0, 1, 3, 1:-1], wanted[1:-1], 1e-6)


def test_parameter_gradients_accumulate():
    check_accumulation(definition("num_output: 3 kernel_size: 3"), (2, 2, 3, 4))


def test_nan_propagates():
    x = normal(1, 2, 3, 3)
    x[0, 1, 1, 1] = np.nan
    run = Run(definition(BILINEAR.format(2, 4, 2, 1)), x)
    assert np.isnan(run.out[0, 1, 1:5, 1:5]).all()
    assert np.isnan(run.out).sum() == 16


def test_group_must_divide():
    with pytest.raises(PrototxtError, match=r"group 3, .* its bottom's channels, 4"):
        Run(definition(BILINEAR.format(3, 4, 2, 1)), normal(1, 4, 3, 3))


def test_something_must_be_left():
    with pytest.raises(ShapeError, match=r"would give a top of spatial shape \(0, 1\)"):
        Run(definition("num_output: 1 kernel_size: 2 pad: 1"), normal(1, 1, 1, 2))


@pytest.mark.parametrize(
    "case",
    golden_cases.cases("layer", "filler", types=("Deconvolution",)),
    ids=golden_cases.case_id,
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
