import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_spn import cpu
from caffe_spn.cpu import lrn
from caffe_spn.cpu.lrn import Neighbourhood


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@st.composite
def neighbourhoods(draw):
    return Neighbourhood(
        size=2 * draw(st.integers(0, 4)) + 1,
        across=draw(st.booleans()),
        alpha=draw(st.sampled_from([1e-4, 1.0, 3.0])),
        beta=draw(st.sampled_from([0.25, 0.5, 0.75, 1.0, 0.6])),
        k=draw(st.sampled_from([0.5, 1.0, 2.0])),
    )


@pytest.mark.skipif(not cpu.compiled(), reason="Numba is not installed")
@settings(max_examples=60, deadline=None)
@given(neighbourhoods(), st.tuples(*[st.integers(1, 12)] * 4))
def test_compiled_equals_numpy(around, shape):
    x, diff = 3 * normal(*shape), normal(*shape, seed=1)
    y, x_diff = np.full_like(x, np.nan), np.full_like(x, np.nan)
    lrn.forward(x, y, around)
    lrn.backward(x, diff, x_diff, around)
    x64, diff64 = x.astype(np.float64), diff.astype(np.float64)
    y64, x_diff64 = np.empty_like(x64), np.empty_like(x64)
    lrn.forward(x64, y64, around)
    lrn.backward(x64, diff64, x_diff64, around)
    np.testing.assert_allclose(y, y64, 2e-6, 1e-7)
    np.testing.assert_allclose(x_diff, x_diff64, 1e-5, 1e-5)


@pytest.mark.parametrize("across", [True, False])
def test_several_blocks(across, monkeypatch):
    x, diff = normal(2, 5, 17, 13), normal(2, 5, 17, 13, seed=1)
    around = Neighbourhood(3, across, 1.0, 0.75, 1.0)
    results = []
    for block in (1, lrn.BLOCK):
        monkeypatch.setattr(lrn, "BLOCK", block)
        y, x_diff = np.empty_like(x), np.empty_like(x)
        lrn.forward(x, y, around)
        lrn.backward(x, diff, x_diff, around)
        results.append((y, x_diff))
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("across", [True, False])
def test_backward_may_overwrite_its_diff(across, dtype):
    x, diff = normal(2, 5, 4, 6).astype(dtype), normal(2, 5, 4, 6, seed=1).astype(dtype)
    around = Neighbourhood(5, across, 1.0, 0.75, 1.0)
    separate = np.empty_like(x)
    lrn.backward(x, diff, separate, around)
    lrn.backward(x, diff, diff, around)
    np.testing.assert_array_equal(diff, separate)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("across", [True, False])
@pytest.mark.parametrize("beta", [0.75, 0.6])
def test_nan_reaches_its_neighbours_only(beta, across, dtype):
    x = normal(1, 6, 6, 6).astype(dtype)
    x[0, 2, 2, 2] = np.nan
    y = np.empty_like(x)
    lrn.forward(x, y, Neighbourhood(3, across, 1.0, beta, 1.0))
    wanted = np.zeros(x.shape, bool)
    wanted[(0, slice(1, 4), 2, 2) if across else (0, 2, slice(1, 4), slice(1, 4))] = True
    np.testing.assert_array_equal(np.isnan(y), wanted)
