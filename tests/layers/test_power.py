import math

import numpy as np
import pytest

from caffe_spn.errors import PrototxtError
from caffe_spn.gradient_check import check_gradients
from tests import golden_cases
from tests.layers.running import SHAPES, Run, normal

# Definition, and what it makes of one number. Inputs are positive: 0.2 to 3.
CASES = {
    "identity": ('type: "Power"', lambda v: v),
    "affine": ('type: "Power" power_param { scale: -2 shift: 1 }', lambda v: 1 - 2 * v),
    "square": ('type: "Power" power_param { power: 2 shift: -1 }', lambda v: (v - 1) ** 2),
    "cube": ('type: "Power" power_param { power: 3 scale: 0.5 }', lambda v: (0.5 * v) ** 3),
    "root": ('type: "Power" power_param { power: 0.5 }', math.sqrt),
    "inverse": ('type: "Power" power_param { power: -1 shift: 0.5 }', lambda v: 1 / (v + 0.5)),
    "power_zero": ('type: "Power" power_param { power: 0 }', lambda v: 1),
    "scale_zero": ('type: "Power" power_param { power: 3 scale: 0 shift: 2 }', lambda v: 8),
    "exp": ('type: "Exp"', math.exp),
    "exp_base": (
        'type: "Exp" exp_param { base: 2 scale: 3 shift: -1 }',
        lambda v: 2 ** (3 * v - 1),
    ),
    "exp_shift": ('type: "Exp" exp_param { shift: 0.5 }', lambda v: math.exp(v + 0.5)),
    "log": ('type: "Log"', math.log),
    "log_base": (
        'type: "Log" log_param { base: 10 scale: 3 shift: 0.1 }',
        lambda v: math.log10(3 * v + 0.1),
    ),
}


def inputs(*shape):
    return np.random.default_rng(0).uniform(0.2, 3, shape).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("name", CASES)
def test_forward(name, shape):
    definition, function = CASES[name]
    x = inputs(*shape)
    expected = np.array([function(float(v)) for v in x.ravel()]).reshape(shape)
    np.testing.assert_allclose(Run(definition, x).out, expected, 1e-5, 1e-6)


@pytest.mark.parametrize("name", CASES)
def test_gradient(name):
    check_gradients(CASES[name][0], [inputs(2, 3, 4)])


def test_power_derivative_at_zero_is_finite():
    run = Run('type: "Power" power_param { power: 3 }', np.zeros(2))
    np.testing.assert_array_equal(run.backward([1, 1])[0], 0)


def test_power_of_a_negative_number_is_nan():
    assert np.isnan(Run('type: "Power" power_param { power: 0.5 }', [-1.0]).out).all()


def test_exp_in_place_equals_separate():
    x, top_diff = inputs(2, 3), normal(2, 3)
    runs = [Run(CASES["exp_base"][0], x, in_place=i) for i in (False, True)]
    np.testing.assert_array_equal(runs[1].out, runs[0].out)
    np.testing.assert_array_equal(runs[1].backward(top_diff)[0], runs[0].backward(top_diff)[0])


@pytest.mark.parametrize("name", ["affine", "log"])
def test_in_place_warns_of_caffes_gradient(name):
    run = Run(CASES[name][0], inputs(2, 3), in_place=True)
    with pytest.warns(UserWarning, match=r"'tested' .* in place ignores the gradient from above"):
        run.backward(np.ones((2, 3)))


@pytest.mark.filterwarnings("ignore:.*in place ignores")
@pytest.mark.parametrize(
    "name, factor",
    [
        ("affine", lambda y: -2),
        ("square", lambda y: 2 * (y - 1)),
        ("cube", lambda y: 3),
        ("root", lambda y: 0.5),
        ("inverse", lambda y: -y / (y + 0.5)),
        ("power_zero", lambda y: 0),
        ("log", lambda y: 1 / y),
    ],
)
def test_gradient_in_place_is_caffes(name, factor):
    # Caffe takes its derivative with the output in the input's place, writes it over the gradient
    # from above, and multiplies the two: what comes out is the derivative's square.
    x = inputs(2, 3)
    run = Run(CASES[name][0], x, in_place=True)
    outputs = run.out.copy()
    expected = np.vectorize(factor, otypes=[float])(outputs) ** 2
    np.testing.assert_allclose(run.backward(normal(2, 3))[0], expected, rtol=1e-5)


@pytest.mark.parametrize(
    "definition, message",
    [
        ('type: "Exp" exp_param { base: -2 }', "has base -2; it must be positive"),
        ('type: "Exp" exp_param { base: 0 }', "has base 0; it must be positive"),
        ('type: "Log" log_param { base: inf }', "has base inf; it must be positive and finite"),
        ('type: "Log" log_param { base: 1 }', "base 1, to which no logarithm exists"),
    ],
)
def test_base_is_checked(definition, message):
    with pytest.raises(PrototxtError, match=message):
        Run(definition, inputs(2))


@pytest.mark.filterwarnings("ignore:.*in place ignores")
@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("Power", "Exp", "Log")), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
