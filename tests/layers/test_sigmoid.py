import math

import numpy as np
import pytest

from caffe_spn.gradient_check import check_gradients
from tests import golden_cases
from tests.layers.running import SHAPES, Run, normal

FUNCTIONS = {"Sigmoid": lambda v: 1 / (1 + math.exp(-v)), "TanH": math.tanh}


def expected(x, function):
    return np.array([function(float(v)) for v in x.ravel()]).reshape(x.shape)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_forward(name, shape):
    x = 3 * normal(*shape)
    np.testing.assert_allclose(
        Run(f'type: "{name}"', x).out, expected(x, FUNCTIONS[name]), 1e-5, 1e-7
    )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradient(name):
    check_gradients(f'type: "{name}"', [(2, 3, 4, 5)])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_in_place_equals_separate(name):
    x, top_diff = normal(2, 3, 4), normal(2, 3, 4, seed=1)
    runs = [Run(f'type: "{name}"', x, in_place=i) for i in (False, True)]
    np.testing.assert_array_equal(runs[1].out, runs[0].out)
    np.testing.assert_array_equal(runs[1].backward(top_diff)[0], runs[0].backward(top_diff)[0])


def test_large_inputs_saturate():
    x = np.array([-1000, 1000], np.float32)
    np.testing.assert_array_equal(Run('type: "Sigmoid"', x).out, [0, 1])
    np.testing.assert_array_equal(Run('type: "TanH"', x).out, [-1, 1])


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("Sigmoid", "TanH")), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
