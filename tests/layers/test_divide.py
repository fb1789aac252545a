"""Divide."""

import numpy as np
import pytest

from caffe_spn.gradient_check import check_gradients
from tests.layers.running import SHAPES, Run, normal


def definition(alpha=1):
    return f'type: "Divide" divide_param {{ alpha: {alpha} }}'


def away_from_zero(*shape):
    x = normal(*shape)
    return x + np.sign(x) * np.float32(0.5)


@pytest.mark.parametrize("alpha", [1, -2.5, 0])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_forward(shape, alpha):
    x = away_from_zero(*shape)
    run = Run(definition(alpha), x)
    for index in np.ndindex(*shape):
        assert run.out[index] == pytest.approx(alpha / float(x[index]), rel=1e-6)
    np.testing.assert_array_equal(run.bottom[0].data, x)


def test_alpha_is_one_by_default():
    np.testing.assert_array_equal(Run('type: "Divide"', [2.0, -4.0]).out, [0.5, -0.25])


def test_guard():
    x = [0.0, -0.0, 5e-7, -5e-7, 2e-6]
    run = Run(definition(3), x)
    np.testing.assert_allclose(run.out, [3e6, -3e6, 3e6, -3e6, 1.5e6], rtol=1e-6)
    # In the guard the top is constant.
    diff = run.backward(np.ones(5))[0]
    np.testing.assert_array_equal(diff[:4], 0)
    assert diff[4] == pytest.approx(-3 / 4e-12, rel=1e-5)
    np.testing.assert_array_equal(run.bottom[0].data, np.float32(x))


def test_nan_is_not_lost():
    run = Run(definition(), [np.nan, 1.0])
    assert np.isnan(run.out[0]) and run.out[1] == 1
    assert np.isnan(run.backward(np.ones(2))[0][0])


@pytest.mark.parametrize("alpha", [1, -2.5, 0])
def test_gradient(alpha):
    check_gradients(definition(alpha), [away_from_zero(2, 3, 4)])


def test_in_place():
    x = away_from_zero(2, 3)
    apart, together = Run(definition(2), x), Run(definition(2), x, in_place=True)
    np.testing.assert_array_equal(together.out, apart.out)
    diff = normal(2, 3, seed=1)
    wanted = apart.backward(diff)[0].copy()
    np.testing.assert_array_equal(together.backward(diff)[0], wanted)
