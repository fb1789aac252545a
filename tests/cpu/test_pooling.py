import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_spn import cpu
from caffe_spn.cpu import pooling
from caffe_spn.cpu.pooling import Window


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def pool_max(x, window, out):
    y, mask = np.empty((len(x), *out), x.dtype), np.empty((len(x), *out), np.int32)
    pooling.max_forward(x, y, mask, window)
    return y, mask


def pool_average(x, window, out):
    y = np.empty((len(x), *out), x.dtype)
    pooling.average_forward(x, y, window)
    return y


@st.composite
def maps(draw):
    kernel = draw(st.tuples(*[st.integers(1, 4)] * 2))
    stride = draw(st.tuples(*[st.integers(1, 4)] * 2))
    pad = tuple(draw(st.integers(0, k - 1)) for k in kernel)
    size = [k + draw(st.integers(0, 12)) for k in kernel]
    window = Window(*kernel, *stride, *pad)
    # Few different values, so that there are ties.
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x = rng.integers(-3, 4, (draw(st.integers(1, 3)), *size))
    return x.astype(np.float32), window, window.output_shape(*size, draw(st.booleans()))


@pytest.mark.skipif(not cpu.compiled(), reason="Numba is not installed")
@settings(max_examples=150, deadline=None)
@given(maps())
def test_compiled_equals_numpy(case):
    x, window, out = case
    y, mask = pool_max(x, window, out)
    y64, mask64 = pool_max(x.astype(np.float64), window, out)
    # Each type has its own lowest number for windows without pixels.
    np.testing.assert_array_equal(y, np.maximum(y64, np.finfo(np.float32).min))
    np.testing.assert_array_equal(mask, mask64)
    average = pool_average(x.astype(np.float64), window, out)
    np.testing.assert_allclose(pool_average(x, window, out), average, 1e-5, 1e-6)

    y_diff = normal(len(x), *out)
    for backward in (
        lambda d, target: pooling.max_backward(d, mask, target),
        lambda d, target: pooling.average_backward(d, target, window),
    ):
        got, wanted = np.full(x.shape, np.nan, np.float32), np.full(x.shape, np.nan)
        backward(y_diff, got)
        backward(y_diff.astype(np.float64), wanted)
        np.testing.assert_allclose(got, wanted, 1e-4, 1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("at", [0, 3, 8])
@pytest.mark.parametrize("window", [Window(3, 3), Window(2, 2)], ids=["global", "windows"])
def test_nan_is_never_pooled_away(window, at, dtype):
    x = np.arange(9, dtype=dtype).reshape(1, 3, 3)
    x.flat[at] = np.nan
    out = window.output_shape(3, 3)
    y, mask = pool_max(x, window, out)
    average = pool_average(x, window, out)
    sees = np.isin(np.arange(9).reshape(3, 3), at)
    for r, q in np.ndindex(*out):
        seen = sees[r : r + window.kernel_h, q : q + window.kernel_w].any()
        assert np.isnan(y[0, r, q]) == np.isnan(average[0, r, q]) == seen
        assert not seen or mask[0, r, q] == at


def test_a_window_without_pixels():
    # Rounded up without padding, a window may begin beyond the map.
    window = Window(1, 1, 2, 2)
    x = np.ones((1, 2, 2), np.float32)
    out = window.output_shape(2, 2)
    assert out == (2, 2)
    y, mask = pool_max(x, window, out)
    assert mask.tolist() == [[[0, -1], [-1, -1]]]
    assert y[0, 1, 1] == np.finfo(np.float32).min
    assert np.isnan(pool_average(x, window, out)[0, 0, 1])  # 0 / 0, as in Caffe
    x_diff = np.empty_like(x)
    pooling.max_backward(np.ones_like(y), mask, x_diff)
    assert x_diff.tolist() == [[[1, 0], [0, 0]]]


@pytest.mark.parametrize(
    ("window", "size", "ceil", "out"),
    [
        (Window(2, 2, 2, 2), (5, 4), True, (3, 2)),
        (Window(2, 2, 2, 2), (5, 4), False, (2, 2)),
        (Window(3, 3, 2, 2), (2, 3), True, (1, 1)),
        # The last window would begin in the padding behind the map.
        (Window(2, 2, 2, 2, 1, 1), (5, 6), True, (3, 4)),
        (Window(2, 2, 3, 3, 1, 1), (5, 5), True, (2, 2)),
    ],
)
def test_output_shape(window, size, ceil, out):
    assert window.output_shape(*size, ceil) == out


def test_stochastic_draws_in_proportion():
    x = np.tile(np.array([[1, 0], [2, 5]], np.float32), (4000, 1, 1))
    y, mask = np.empty((4000, 1, 1), np.float32), np.empty((4000, 1, 1), np.int32)
    pooling.stochastic_train(x, y, mask, Window(2, 2), np.random.default_rng(0))
    np.testing.assert_array_equal(y.ravel(), x.reshape(4000, 4)[np.arange(4000), mask.ravel()])
    shares = np.bincount(mask.ravel(), minlength=4) / 4000
    np.testing.assert_allclose(shares, [1 / 8, 0, 2 / 8, 5 / 8], atol=0.03)


def test_stochastic_expectation():
    x = np.array([[[1, 0, 0], [2, 5, 0]]], np.float32)
    y = np.empty((1, 1, 2), np.float32)
    pooling.stochastic_test(x, y, Window(2, 2))
    np.testing.assert_allclose(y, [[[30 / 8, 5]]])
    pooling.stochastic_test(0 * x, y, Window(2, 2))
    assert y.tolist() == [[[0, 0]]]
