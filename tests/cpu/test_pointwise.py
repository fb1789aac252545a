import numpy as np
import pytest

from caffe_spn.cpu import pointwise

SIZES = {"small": (3, 7), "large": (3, pointwise.SMALL // 2)}


def numbers(shape, dtype, seed=0):
    x = np.random.default_rng(seed).standard_normal(shape).astype(dtype)
    x.flat[:5] = [0, np.inf, -np.inf, np.nan, -1]
    return x


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("slope", [0, 0.1, -2])
def test_rectify(slope, shape, dtype):
    x = numbers(shape, dtype)
    wanted = np.where((x > 0) | (x != x), x, 0 if slope == 0 else slope * x)
    y = np.empty_like(x)
    pointwise.rectify(x, slope, y)
    np.testing.assert_allclose(y, wanted, 1e-6)
    pointwise.rectify(x, slope, x)
    np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("slope", [0, 0.1, -2])
def test_rectify_backward(slope, shape, dtype):
    x, diff = numbers(shape, dtype), np.random.default_rng(1).standard_normal(shape).astype(dtype)
    diff[-1, -2:] = np.nan
    x[-1, -2:] = [1, -1]
    out = np.empty_like(x)
    pointwise.rectify_backward(x, diff, slope, out)
    np.testing.assert_allclose(out, diff * np.where(x > 0, 1, slope), 1e-6)
    pointwise.rectify_backward(x, diff, slope, diff)
    np.testing.assert_array_equal(diff, out)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("weights", [(1, 1), (1, -1), (0.5, 3)])
def test_weighted_sum(weights, shape, dtype):
    a, b = numbers(shape, dtype), np.random.default_rng(1).standard_normal(shape).astype(dtype)
    wanted = weights[0] * a.astype(np.float64) + weights[1] * b.astype(np.float64)
    out = np.empty_like(a)
    pointwise.weighted_sum(a, weights[0], b, weights[1], out)
    np.testing.assert_allclose(out, wanted, 1e-5, 1e-6)
    for which in (0, 1):
        pair = [a.copy(), b.copy()]
        pointwise.weighted_sum(pair[0], weights[0], pair[1], weights[1], pair[which])
        np.testing.assert_array_equal(pair[which], out)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(2, 3, 7), (2, 3, pointwise.SMALL // 4)])
def test_rectify_channels(shape, dtype):
    x, diff = numbers(shape, dtype), np.random.default_rng(1).standard_normal(shape).astype(dtype)
    slopes = np.array([0.5, 0.1, -2], dtype)
    each = np.where(x > 0, 1, slopes[:, None])
    y, x_diff = np.empty_like(x), np.empty_like(x)
    pointwise.rectify_channels(x, slopes, y)
    pointwise.rectify_channels_backward(x, diff, slopes, x_diff)
    np.testing.assert_allclose(y, x * each, 1e-6)
    np.testing.assert_allclose(x_diff, diff * each, 1e-6)
    pointwise.rectify_channels_backward(x, diff, slopes, diff)
    pointwise.rectify_channels(x, slopes, x)
    np.testing.assert_array_equal(x, y)
    np.testing.assert_array_equal(diff, x_diff)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("alpha", [1, 0.4, -2])
def test_elu(alpha, shape, dtype):
    x, diff = numbers(shape, dtype), np.random.default_rng(1).standard_normal(shape).astype(dtype)
    y, x_diff = np.empty_like(x), np.empty_like(x)
    pointwise.elu(x, alpha, y)
    pointwise.elu_backward(x, y, diff, alpha, x_diff)
    wanted = np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))
    np.testing.assert_allclose(y, wanted, 1e-5, 1e-6)
    # A NaN is not larger than 0, so that its derivative is NaN too.
    np.testing.assert_allclose(x_diff, diff * np.where(x > 0, 1, alpha + wanted), 1e-5, 1e-6)
    pointwise.elu_backward(x, y, diff, alpha, diff)
    pointwise.elu(x, alpha, x)
    np.testing.assert_array_equal(x, y)
    np.testing.assert_array_equal(diff, x_diff)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SIZES.values(), ids=SIZES)
def test_sigmoid_and_tanh(shape, dtype):
    x, diff = numbers(shape, dtype), np.random.default_rng(1).standard_normal(shape).astype(dtype)
    x.flat[5:9] = [-100, 100, -30, 10]
    y, x_diff = np.empty_like(x), np.empty_like(x)
    pointwise.sigmoid(x, y)
    with np.errstate(over="ignore"):
        wanted = 1 / (1 + np.exp(-x.astype(np.float64)))
    np.testing.assert_allclose(y, wanted, 1e-6, 1e-7)
    pointwise.sigmoid_backward(y, diff, x_diff)
    np.testing.assert_allclose(x_diff, diff * wanted * (1 - wanted), 1e-5, 1e-7)
    pointwise.tanh_backward(y, diff, x_diff)
    np.testing.assert_allclose(x_diff, diff * (1 - y * y), 1e-5, 1e-7)
    pointwise.tanh_backward(y, diff, diff)
    pointwise.sigmoid(x, x)
    np.testing.assert_array_equal(x, y)
    np.testing.assert_array_equal(diff, x_diff)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SIZES.values(), ids=SIZES)
def test_largest_of_three(shape, dtype):
    rng = np.random.default_rng(0)
    # Few different values, so that there are ties.
    a, b, c = (rng.integers(-2, 3, shape).astype(dtype) for _ in range(3))
    for i, x in enumerate((a, b, c)):
        x.flat[i] = np.nan
    out, winner = np.empty_like(a), np.empty(shape, np.uint8)
    pointwise.larger_of_two(a, b, out, winner)
    np.testing.assert_array_equal(out, np.maximum(a, b))
    wanted = np.where(a <= b, 1, 0)
    np.testing.assert_array_equal(winner, wanted)
    wanted = np.where(c > out, 2, wanted)
    pointwise.keep_larger(c, 2, out, winner)
    np.testing.assert_array_equal(out, np.maximum(np.maximum(a, b), c))
    np.testing.assert_array_equal(winner, wanted)
    diff = rng.standard_normal(shape).astype(dtype)
    parts = [np.empty_like(diff) for _ in range(3)]
    for i, part in enumerate(parts):
        pointwise.select(winner, i, diff, part)
        np.testing.assert_array_equal(part, np.where(wanted == i, diff, 0))
