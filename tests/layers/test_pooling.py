import math

import numpy as np
import pytest

import caffe_spn
from caffe_spn.errors import PrototxtError, ShapeError
from caffe_spn.gradient_check import check_gradients
from tests import golden_cases
from tests.layers.running import TEST, Run, normal


def definition(rest):
    return f'type: "Pooling" pooling_param {{ {rest} }}'


def out_size(size, kernel, stride, pad, rounding):
    count = rounding((size + 2 * pad - kernel) / stride) + 1
    return count - 1 if pad and (count - 1) * stride >= size + pad else count


def expected(x, pool, kernel, stride=(1, 1), pad=(0, 0), rounding=math.ceil):
    """One window at a time; (the pooled map, the index of each maximum)."""
    batch, channels, height, width = x.shape
    out = [
        out_size(*numbers, rounding)
        for numbers in zip((height, width), kernel, stride, pad, strict=True)
    ]
    y, mask = np.zeros((batch, channels, *out)), np.zeros((batch, channels, *out))
    for n, c, r, q in np.ndindex(*y.shape):
        top, left = r * stride[0] - pad[0], q * stride[1] - pad[1]
        bottom, right = (
            min(start + k, size + p)
            for start, k, size, p in zip((top, left), kernel, (height, width), pad, strict=True)
        )
        inside = [
            (float(x[n, c, h, v]), h * width + v)
            for h in range(max(0, top), min(height, bottom))
            for v in range(max(0, left), min(width, right))
        ]
        if pool == "AVE":
            y[n, c, r, q] = sum(v for v, _ in inside) / ((bottom - top) * (right - left))
        else:
            y[n, c, r, q] = max(v for v, _ in inside)
            mask[n, c, r, q] = next(i for v, i in inside if v == y[n, c, r, q])
    return y, mask


# Parameters as text, the shape of the bottom, and the same as arguments of `expected`.
CASES = {
    "one pixel": ("kernel_size: 1", (1, 1, 1, 1), ((1, 1),)),
    "halves": ("kernel_size: 2 stride: 2", (2, 3, 4, 6), ((2, 2), (2, 2))),
    "hangs over": ("kernel_size: 3 stride: 2", (2, 2, 6, 5), ((3, 3), (2, 2))),
    "rounded down": (
        "kernel_size: 3 stride: 2 round_mode: FLOOR",
        (2, 2, 6, 5),
        ((3, 3), (2, 2), (0, 0), math.floor),
    ),
    "padded": ("kernel_size: 3 stride: 2 pad: 1", (1, 2, 7, 4), ((3, 3), (2, 2), (1, 1))),
    "last window left out": (
        "kernel_size: 2 stride: 2 pad: 1",
        (1, 2, 5, 6),
        ((2, 2), (2, 2), (1, 1)),
    ),
    "unequal": (
        "kernel_h: 2 kernel_w: 4 stride_h: 3 stride_w: 1 pad_h: 0 pad_w: 2",
        (2, 1, 8, 5),
        ((2, 4), (3, 1), (0, 2)),
    ),
    "large stride": ("kernel_size: 2 stride: 3", (1, 2, 8, 5), ((2, 2), (3, 3))),
    "global": ("global_pooling: true", (2, 3, 4, 5), ((4, 5),)),
    "engine": ("kernel_size: 2 engine: CUDNN", (1, 1, 3, 2), ((2, 2),)),
}


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_forward(case, pool):
    text, shape, arguments = case
    tops = 2 if pool == "MAX" else 1
    run = Run(definition(f"pool: {pool} {text}"), normal(*shape), tops=tops)
    y, mask = expected(run.bottom[0].data, pool, *arguments)
    assert run.out.shape == y.shape
    np.testing.assert_allclose(run.out, y, 1e-5, 1e-6)
    if pool == "MAX":
        np.testing.assert_array_equal(run.top[1].data, mask)


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_gradient(case, pool):
    text, shape, _ = case
    # Numbers 0.01 apart and more: no step of the check changes which is the largest.
    x = np.random.default_rng(0).permutation(math.prod(shape)).reshape(shape) * 0.01
    check_gradients(definition(f"pool: {pool} {text}"), [x])


def test_of_equal_pixels_the_first_counts():
    run = Run(definition("kernel_size: 2"), np.ones((1, 1, 2, 3)))
    (bottom_diff,) = run.backward([[[[1, 2]]]])
    np.testing.assert_array_equal(bottom_diff[0, 0], [[1, 2, 0], [0, 0, 0]])


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
def test_nan_propagates(pool):
    x = normal(1, 1, 4, 4)
    x[0, 0, 1, 2] = np.nan
    out = Run(definition(f"pool: {pool} kernel_size: 2 stride: 2"), x).out
    assert np.isnan(out[0, 0]).tolist() == [[False, True], [False, False]]


def test_stochastic_training_draws_a_pixel_and_hands_the_gradient_to_it():
    caffe_spn.set_random_seed(3)
    x = np.abs(normal(3, 2, 4, 6))
    run = Run(definition("pool: STOCHASTIC kernel_size: 2 stride: 2"), x)
    (bottom_diff,) = run.backward(run.out)
    np.testing.assert_array_equal(bottom_diff, np.where(bottom_diff, x, 0))
    windows = bottom_diff.reshape(3, 2, 2, 2, 3, 2)
    np.testing.assert_array_equal((windows != 0).sum(axis=(3, 5)), 1)
    before = run.out.copy()
    run.forward()
    assert (run.out != before).any()


def test_stochastic_testing_takes_the_expectation():
    x = np.abs(normal(2, 1, 3, 3))
    run = Run(definition("pool: STOCHASTIC kernel_size: 3"), x, phase=TEST)
    wanted = (x * x).sum(axis=(2, 3)) / x.sum(axis=(2, 3))
    np.testing.assert_allclose(run.out[..., 0, 0], wanted, 1e-6)
    with pytest.raises(PrototxtError, match="no gradient in the TEST phase"):
        run.backward(run.out)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"needs kernel_size, or kernel_h and kernel_w"),
        ("kernel_h: 2", r"needs kernel_size, or kernel_h and kernel_w"),
        ("kernel_size: 2 kernel_h: 2 kernel_w: 2", r"kernel_w; it has all of them"),
        ("global_pooling: true kernel_size: 2", r"has global_pooling and a kernel size"),
        ("global_pooling: true stride: 2", r"has global_pooling with pad \(0, 0\) and stride"),
        ("kernel_size: 2 stride_h: 2", r"needs stride, or stride_h and stride_w"),
        ("kernel_size: 2 pad_w: 1", r"needs pad, or pad_h and pad_w"),
        ("kernel_size: 2 pad: 1 pad_h: 1 pad_w: 1", r"needs pad, or pad_h and pad_w"),
        ("kernel_size: 0", r"has kernel \(0, 0\); it must be positive"),
        ("kernel_size: 2 stride: 0", r"has stride \(0, 0\); it must be positive"),
        ("kernel_size: 2 pad: 2", r"has pad \(2, 2\), .* the kernel, \(2, 2\)"),
        ("kernel_size: 2 pad: 1 pool: STOCHASTIC", r"has pool STOCHASTIC with pad \(1, 1\)"),
    ],
)
def test_parameters_must_make_sense(text, message):
    with pytest.raises(PrototxtError, match=message) as error:
        Run(definition(text), normal(1, 1, 6, 6))
    assert error.value.help


@pytest.mark.parametrize("pool", ["AVE", "STOCHASTIC"])
def test_only_the_maximum_has_a_mask(pool):
    with pytest.raises(PrototxtError, match="has 2 tops; only MAX has a mask"):
        Run(definition(f"pool: {pool} kernel_size: 2"), normal(1, 1, 6, 6), tops=2)


def test_four_axes_are_needed():
    with pytest.raises(ShapeError, match=r"bottom is \(4, 6, 6\); it must have 4 axes"):
        Run(definition("kernel_size: 2"), normal(4, 6, 6))


def test_kernel_must_fit():
    with pytest.raises(ShapeError, match=r"the kernel, \(5, 5\), is larger than its planes"):
        Run(definition("kernel_size: 5"), normal(1, 1, 3, 6))


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("Pooling",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)


def test_stochastic_training_goes_on_from_its_state():
    x = np.abs(normal(3, 2, 4, 6))
    run = Run(definition("pool: STOCHASTIC kernel_size: 2 stride: 2"), x)
    state = run.layer.state()
    run.forward()
    wanted = run.out.copy()
    other = Run(definition("pool: STOCHASTIC kernel_size: 2 stride: 2"), x)
    other.layer.restore_state(state)
    other.forward()
    np.testing.assert_array_equal(other.out, wanted)
