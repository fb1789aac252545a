import math

import numpy as np
import pytest

from caffe_spn.gradient_check import check_gradients
from tests import golden_cases
from tests.layers.running import SHAPES, Run, normal


def swish(beta):
    return f'type: "Swish" swish_param {{ beta: {beta} }}'


def expected(x, beta):
    values = [float(v) / (1 + math.exp(-beta * float(v))) for v in x.ravel()]
    return np.array(values).reshape(x.shape)


@pytest.mark.parametrize("beta", [1, 0, 1.8, -0.7])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_forward(shape, beta):
    x = 3 * normal(*shape)
    np.testing.assert_allclose(Run(swish(beta), x).out, expected(x, beta), 1e-5, 1e-6)


def test_beta_is_1_if_not_stated():
    x = normal(2, 3)
    np.testing.assert_array_equal(Run('type: "Swish"', x).out, Run(swish(1), x).out)


@pytest.mark.parametrize("beta", [1, 0, 1.8, -0.7])
def test_gradient(beta):
    check_gradients(swish(beta), [(2, 3, 4, 5)])


def test_in_place_equals_separate():
    x, top_diff = normal(2, 3, 4), normal(2, 3, 4, seed=1)
    runs = [Run(swish(1.5), x, in_place=i) for i in (False, True)]
    np.testing.assert_array_equal(runs[1].out, runs[0].out)
    np.testing.assert_array_equal(runs[1].backward(top_diff)[0], runs[0].backward(top_diff)[0])


def test_large_inputs_are_a_rectifier():
    run = Run(swish(1), [-1e8, -1000, 1000, 1e8, np.nan])
    np.testing.assert_array_equal(run.out, [0, 0, 1000, 1e8, np.nan])
    np.testing.assert_array_equal(run.backward(3.0)[0], [0, 0, 3, 3, np.nan])


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("Swish",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
