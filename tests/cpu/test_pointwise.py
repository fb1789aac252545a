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
