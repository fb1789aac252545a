import math

import numpy as np
import pytest

from caffe_spn.errors import ShapeError
from caffe_spn.gradient_check import check_gradients
from tests import golden_cases
from tests.layers.running import SHAPES, Run, normal


def expected(x, negative):
    """`x` where it is positive, elsewhere what `negative` makes of it and of its index."""
    y = x.copy()
    for index, value in np.ndenumerate(x):
        if value <= 0:
            y[index] = negative(float(value), index)
    return y


DEFINITIONS = {
    "relu": ('type: "ReLU"', lambda v, i: 0),
    "leaky": (
        'type: "ReLU" relu_param { negative_slope: 0.1 engine: CUDNN }',
        lambda v, i: 0.1 * v,
    ),
    "elu": ('type: "ELU"', lambda v, i: math.expm1(v)),
    "elu_alpha": ('type: "ELU" elu_param { alpha: 0.4 }', lambda v, i: 0.4 * math.expm1(v)),
    "elu_negative_alpha": ('type: "ELU" elu_param { alpha: -2 }', lambda v, i: -2 * math.expm1(v)),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("name", DEFINITIONS)
def test_forward(name, shape):
    definition, negative = DEFINITIONS[name]
    x = normal(*shape)
    np.testing.assert_allclose(Run(definition, x).out, expected(x, negative), 1e-5, 1e-7)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_gradient(name):
    check_gradients(DEFINITIONS[name][0], [(2, 3, 4, 5)], kink=0, kink_range=0.01)


@pytest.mark.parametrize("name", ["relu", "leaky", "elu", "elu_alpha"])
def test_in_place_equals_separate(name):
    definition = DEFINITIONS[name][0]
    x, top_diff = normal(2, 3, 4, 5), normal(2, 3, 4, 5, seed=1)
    separate, in_place = Run(definition, x), Run(definition, x, in_place=True)
    np.testing.assert_array_equal(in_place.out, separate.out)
    np.testing.assert_array_equal(in_place.backward(top_diff)[0], separate.backward(top_diff)[0])


@pytest.mark.parametrize("definition", ['type: "ReLU"', 'type: "ELU"', 'type: "PReLU"'])
def test_nan_is_passed_on(definition):
    assert np.isnan(Run(definition, np.full((1, 2), np.nan)).out).all()


def test_relu_derivative_at_zero_is_the_slope():
    run = Run('type: "ReLU" relu_param { negative_slope: 0.25 }', np.zeros((1, 2)))
    np.testing.assert_array_equal(run.backward([[4, 8]])[0], [[1, 2]])


@pytest.mark.parametrize("shape", [SHAPES["batch"], SHAPES["matrix"], SHAPES["deep"]])
def test_prelu_forward(shape):
    x = normal(*shape)
    slopes = normal(shape[1], seed=1)
    run = Run('type: "PReLU"', x, params=[slopes])
    np.testing.assert_allclose(run.out, expected(x, lambda v, i: slopes[i[1]] * v), 1e-5)


def test_prelu_starts_from_a_quarter():
    run = Run('type: "PReLU"', normal(2, 3))
    np.testing.assert_array_equal(run.layer.blobs[0].data, [0.25] * 3)


@pytest.mark.parametrize("shared", ["true", "false"])
@pytest.mark.parametrize("shape", [(2, 3, 2, 3), (3, 4)])
def test_prelu_gradient(shared, shape):
    check_gradients(
        f'type: "PReLU" prelu_param {{ channel_shared: {shared} }}',
        [shape],
        kink=0,
        kink_range=0.01,
    )


def test_prelu_in_place_equals_separate():
    x, top_diff = normal(2, 3, 4), normal(2, 3, 4, seed=1)
    # A negative slope changes the sign, so that the output cannot stand for the input.
    runs = [Run('type: "PReLU"', x, params=[[0.5, -2, 1]], in_place=i) for i in (False, True)]
    diffs = [run.backward(top_diff)[0] for run in runs]
    np.testing.assert_array_equal(diffs[0], diffs[1])
    np.testing.assert_array_equal(runs[0].layer.blobs[0].diff, runs[1].layer.blobs[0].diff)


def test_prelu_slope_gradient_accumulates():
    run = Run('type: "PReLU"', [[-1.0, 2.0]])
    run.backward([[3, 5]])
    run.backward([[3, 5]])
    np.testing.assert_array_equal(run.layer.blobs[0].diff, [-6, 0])


def test_prelu_refuses_a_vector():
    with pytest.raises(ShapeError, match=r"\(4,\); PReLU needs at least 2 axes"):
        Run('type: "PReLU"', normal(4))


def test_prelu_refuses_other_channels():
    run = Run('type: "PReLU"', normal(2, 3))
    run.bottom[0].reshape(2, 4)
    with pytest.raises(ShapeError, match=r"has 3 slopes, but a bottom of shape \(2, 4\) needs 4"):
        run.forward()


@pytest.mark.parametrize(
    "case",
    golden_cases.cases("layer", types=("ReLU", "PReLU", "ELU")),
    ids=golden_cases.case_id,
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
