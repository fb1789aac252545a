import numpy as np
import pytest

from caffe_spn import cpu
from caffe_spn.cpu import softmax

SHAPES = [(2, 3, 5), (1, 21, 700), (3, 1, 4), (4, 1000, 1), (5, 16, 1), (3, 7, 1), (2, 40, 2)]
compiled = pytest.mark.skipif(not cpu.compiled(), reason="Numba is not installed")


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@compiled
@pytest.mark.parametrize("scale", [1, 30])
@pytest.mark.parametrize("shape", SHAPES)
def test_compiled_equals_numpy(shape, scale):
    x, diff = scale * normal(*shape), normal(*shape, seed=1)
    y, x_diff = np.full_like(x, np.nan), np.full_like(x, np.nan)
    softmax.forward(x, y)
    softmax.backward(y, diff, x_diff)
    y64, x_diff64 = np.empty(shape), np.empty(shape)
    softmax.forward(x.astype(np.float64), y64)
    softmax.backward(y64, diff.astype(np.float64), x_diff64)
    np.testing.assert_allclose(y, y64, 1e-5, 1e-37)
    np.testing.assert_allclose(x_diff, x_diff64, 1e-5, 1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(2, 30, 5), (2, 30, 1)])
def test_results_may_overwrite_their_inputs(shape, dtype):
    x, diff = normal(*shape).astype(dtype), normal(*shape, seed=1).astype(dtype)
    y, x_diff = np.empty_like(x), np.empty_like(x)
    softmax.forward(x, y)
    softmax.forward(x, x)
    np.testing.assert_array_equal(x, y)
    softmax.backward(y, diff, x_diff)
    softmax.backward(y, diff, diff)
    np.testing.assert_array_equal(diff, x_diff)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("inner", [1, 3])
@pytest.mark.parametrize("at", [0, 5, 19, 20])
def test_nan_reaches_its_own_column_only(at, inner, dtype):
    x = normal(2, 21, inner).astype(dtype)
    x[1, at, 0] = np.nan
    y = np.empty_like(x)
    softmax.forward(x, y)
    wanted = np.zeros(x.shape, bool)
    wanted[1, :, 0] = True
    np.testing.assert_array_equal(np.isnan(y), wanted)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("inner", [1, 2])
def test_scores_that_are_far_apart(inner, dtype):
    x = np.array([3e38, 0, -3e38, -np.inf], dtype)
    x = np.ascontiguousarray(np.tile(x[None, :, None], (1, 1, inner)))
    softmax.forward(x, x)
    assert x[0, :, 0].tolist() == [1, 0, 0, 0]


@compiled
def test_exp():
    from numba import njit

    from caffe_spn.cpu.exponential import exp_nonpositive

    @njit
    def run(x, out):
        for i in range(x.size):
            out[i] = exp_nonpositive(x[i])

    x = np.concatenate([np.linspace(-87.3, 0, 100_000), [-87.4, -1e30, -np.inf, np.nan]])
    x = x.astype(np.float32)
    out = np.empty_like(x)
    run(x, out)
    np.testing.assert_allclose(out[:-4], np.exp(x[:-4].astype(np.float64)), 1.2e-7)
    assert out[-4:-1].tolist() == [0, 0, 0] and np.isnan(out[-1])
