import numpy as np
import pytest

from caffe_spn.errors import PrototxtError, ShapeError
from caffe_spn.gradient_check import check_gradients
from tests import golden_cases
from tests.layers.convolving import output_size, under_kernel
from tests.layers.running import Run, normal


def im2col(rest):
    return f'type: "Im2col" convolution_param {{ {rest} }}'


def expected(x, kernel, stride, pad, dilation):
    """x (C, ...), any number of spatial axes, one element at a time."""
    out = output_size(x.shape[1:], kernel, stride, pad, dilation)
    columns = np.zeros((x.shape[0], *kernel, *out))
    for position in np.ndindex(*out):
        for offset, pixel in under_kernel(position, kernel, x.shape[1:], stride, pad, dilation):
            for c in range(x.shape[0]):
                columns[(c, *offset, *position)] = x[(c, *pixel)]
    return columns.reshape(-1, *out)


# Parameters as text, the shape of the bottom, and kernel, stride, pad and dilation.
CASES = {
    "one pixel": ("kernel_size: 1", (1, 1, 1, 1), (1, 1), (1, 1), (0, 0), (1, 1)),
    "square": ("kernel_size: 3 pad: 1", (2, 2, 4, 5), (3, 3), (1, 1), (1, 1), (1, 1)),
    "all of the map": ("kernel_size: [4, 5]", (1, 2, 4, 5), (4, 5), (1, 1), (0, 0), (1, 1)),
    "only padding": ("kernel_size: 2 pad: 3", (1, 1, 1, 2), (2, 2), (1, 1), (3, 3), (1, 1)),
    "stride beyond the kernel": (
        "kernel_size: 2 stride: 3",
        (1, 2, 7, 6),
        (2, 2),
        (3, 3),
        (0, 0),
        (1, 1),
    ),
    "height and width": (
        "kernel_h: 2 kernel_w: 3 stride_h: 1 stride_w: 2 pad_h: 1 pad_w: 0",
        (2, 2, 5, 7),
        (2, 3),
        (1, 2),
        (1, 0),
        (1, 1),
    ),
    "dilation": (
        "kernel_size: 2 dilation: [3, 2] stride: 2 pad: [2, 1]",
        (1, 2, 5, 6),
        (2, 2),
        (2, 2),
        (2, 1),
        (3, 2),
    ),
    "beyond the edge by less than a stride": (
        "kernel_size: 4 stride: 3 pad: [0, 1]",
        (1, 2, 2, 1),
        (4, 4),
        (3, 3),
        (0, 1),
        (1, 1),
    ),
    "line": ("kernel_size: 3 stride: 2 pad: 1", (2, 3, 6), (3,), (2,), (1,), (1,)),
    "volume": (
        "kernel_size: [1, 2, 3] stride: [1, 2, 1] pad: [0, 1, 1] dilation: [1, 2, 1]",
        (1, 2, 2, 5, 4),
        (1, 2, 3),
        (1, 2, 1),
        (0, 1, 1),
        (1, 2, 1),
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_forward(case):
    text, shape, *geometry = case
    x = normal(*shape)
    run = Run(im2col(text), x)
    np.testing.assert_array_equal(run.out, [expected(image, *geometry) for image in x])


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_gradient(case):
    check_gradients(im2col(case[0]), [case[1]])


@pytest.mark.parametrize(
    ("axis", "shape", "top"),
    [
        ("axis: 0", (2, 3, 4), (8, 2, 3)),
        ("axis: 2", (3, 1, 2, 3, 4), (3, 1, 8, 2, 3)),
        ("axis: -3", (2, 3, 2, 3, 4), (2, 3, 8, 2, 3)),
    ],
)
def test_axes_before_the_channels_are_images(axis, shape, top):
    x = normal(*shape)
    run = Run(im2col(f"kernel_size: 2 {axis}"), x)
    assert run.out.shape == top
    images = x.reshape(-1, *shape[-3:])
    got = run.out.reshape(-1, *top[-3:])
    for image, columns in zip(images, got, strict=True):
        wanted = expected(image, (2, 2), (1, 1), (0, 0), (1, 1))
        np.testing.assert_array_equal(columns, wanted)


def test_a_product_with_the_weights_is_the_convolution():
    text = "num_output: 4 kernel_size: 3 stride: 2 pad: 1 dilation: 2 bias_term: false"
    x, w = normal(2, 3, 9, 8), normal(4, 3, 3, 3, seed=1)
    columns = Run(im2col(text), x).out
    convolution = Run(f'type: "Convolution" convolution_param {{ {text} }}', x, params=[w]).out
    product = np.einsum("kc,nchw->nkhw", w.reshape(4, -1), columns)
    np.testing.assert_allclose(product, convolution, 1e-4, 1e-4)


def test_fields_of_a_convolution_change_nothing():
    x = normal(1, 2, 4, 3)
    text = "kernel_size: 2 num_output: 5 group: 5 bias_term: false engine: CUDNN"
    text += ' force_nd_im2col: true weight_filler { type: "xavier" } bias_filler { value: 1 }'
    run = Run(im2col(text), x)
    np.testing.assert_array_equal(run.out, Run(im2col("kernel_size: 2"), x).out)
    assert not run.layer.blobs


def test_the_gradient_is_written_only_where_wanted_and_not_added():
    run = Run(im2col("kernel_size: 2"), normal(1, 1, 2, 3))
    run.bottom[0].diff.fill(9)
    assert (run.backward(1.0, propagate=[False])[0] == 9).all()
    for _ in range(2):
        np.testing.assert_array_equal(run.backward(1.0)[0], [[[[1, 2, 1], [1, 2, 1]]]])


def test_the_size_may_change():
    run = Run(im2col("kernel_size: 2 pad: 1"), normal(1, 2, 3, 3))
    run.bottom[0].reshape(2, 3, 4, 5)
    x = run.bottom[0].data[...] = normal(2, 3, 4, 5)
    run.forward()
    wanted = [expected(image, (2, 2), (1, 1), (1, 1), (1, 1)) for image in x]
    np.testing.assert_array_equal(run.out, wanted)


@pytest.mark.parametrize("shape", [(0, 2, 3, 3), (2, 0, 3, 3)])
def test_nothing_stays_nothing(shape):
    run = Run(im2col("kernel_size: 2"), np.zeros(shape))
    assert run.out.shape == (shape[0], 4 * shape[1], 2, 2)
    run.backward(0)


def test_nan_propagates():
    x = np.zeros((1, 1, 3, 3))
    x[0, 0, 1, 1] = np.nan
    assert np.isnan(Run(im2col("kernel_size: 2"), x).out).sum() == 4


# The checks of a list's length and of positive numbers are tested with Convolution.
@pytest.mark.parametrize(
    ("text", "shape", "error", "message"),
    [
        ("", (1, 1, 3, 3), PrototxtError, "has kernel_size 0 times for 2 spatial axes"),
        ("kernel_size: 0", (1, 1, 3, 3), PrototxtError, r"has kernel_size \(0, 0\)"),
        ("kernel_h: 2 kernel_w: 2", (1, 1, 3), PrototxtError, "its bottom has 1"),
        ("kernel_size: 4", (1, 1, 3, 3), ShapeError, r"a top of spatial shape \(0, 0\)"),
        ("kernel_size: 1", (2, 3), ShapeError, r"is \(2, 3\), which has no spatial axes"),
        ("kernel_size: 1 axis: 4", (1, 1, 3, 3), ShapeError, "axis 4 is out of range"),
    ],
)
def test_errors(text, shape, error, message):
    with pytest.raises(error, match=message):
        Run(im2col(text), normal(*shape))


def test_the_number_of_axes_must_stay():
    run = Run(im2col("kernel_size: 2"), normal(1, 2, 3, 3))
    run.bottom[0].reshape(1, 2, 9)
    with pytest.raises(ShapeError, match=r"is \(1, 2, 9\); it was set up for 4 axes"):
        run.forward()


def test_not_in_place():
    with pytest.raises(PrototxtError, match="cannot compute in place"):
        Run(im2col("kernel_size: 1"), normal(1, 1, 3, 3), in_place=True)


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("Im2col",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
