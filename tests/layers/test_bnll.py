import math

import numpy as np
import pytest

from caffe_spn.gradient_check import check_gradients
from tests import golden_cases
from tests.layers.running import SHAPES, Run, normal

BNLL = 'type: "BNLL"'


def expected(x):
    return np.array([math.log1p(math.exp(float(v))) for v in x.ravel()]).reshape(x.shape)


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_forward(shape, in_place):
    x = 5 * normal(*shape)
    np.testing.assert_allclose(Run(BNLL, x, in_place=in_place).out, expected(x), 1e-5)


def test_gradient():
    check_gradients(BNLL, [(2, 3, 4, 5)])


def test_large_inputs_neither_overflow_nor_vanish():
    run = Run(BNLL, [-np.inf, -1000, -20, 1000, np.inf, np.nan])
    small = np.float32(math.exp(-20))
    np.testing.assert_array_equal(run.out, [0, 0, small, 1000, np.inf, np.nan])
    np.testing.assert_allclose(run.backward(2.0)[0], [0, 0, 0, 2, 2, np.nan], atol=1e-6)


def test_in_place_takes_the_slope_at_the_top_and_says_so():
    x, top_diff = normal(2, 3), normal(2, 3, seed=1)
    run = Run(BNLL, x, in_place=True)
    with pytest.warns(UserWarning, match="'tested' .* in place takes the slope at the top's"):
        diff = run.backward(top_diff)[0].copy()
    np.testing.assert_allclose(diff, top_diff / (1 + np.exp(-expected(x))), 1e-5)
    run.backward(top_diff)  # says it once


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("BNLL",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
