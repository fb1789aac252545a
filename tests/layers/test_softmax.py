import math

import numpy as np
import pytest

from caffe_spn.errors import ShapeError
from caffe_spn.gradient_check import check_gradients
from tests import golden_cases
from tests.layers.running import SHAPES, Run, normal


def softmax(axis=1):
    return f'type: "Softmax" softmax_param {{ axis: {axis} engine: CAFFE }}'


def expected(x, axis):
    y = np.empty_like(x)
    for index in np.ndindex(*x.shape):
        line = list(index)
        line[axis] = slice(None)
        scores = [math.exp(float(v)) for v in x[tuple(line)]]
        y[index] = scores[index[axis]] / sum(scores)
    return y


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_forward(shape, axis):
    x = 2 * normal(*shape)
    np.testing.assert_allclose(Run(softmax(axis), x).out, expected(x, axis), 1e-5)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gradient(axis):
    check_gradients(softmax(axis), [(2, 3, 4)])


def test_in_place_equals_separate():
    x, top_diff = normal(2, 3, 4), normal(2, 3, 4, seed=1)
    runs = [Run(softmax(), x, in_place=i) for i in (False, True)]
    np.testing.assert_array_equal(runs[1].out, runs[0].out)
    np.testing.assert_array_equal(runs[1].backward(top_diff)[0], runs[0].backward(top_diff)[0])


def test_large_scores_do_not_overflow():
    np.testing.assert_array_equal(Run(softmax(), [[1e4, 1e4, -1e4]]).out, [[0.5, 0.5, 0]])


def test_axis_is_checked():
    with pytest.raises(ShapeError, match="axis 2 is out of range"):
        Run(softmax(2), normal(2, 3))


def test_classes_are_needed():
    with pytest.raises(ShapeError, match=r"\(2, 0\) has no classes along axis 1"):
        Run(softmax(), np.zeros((2, 0)))


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("Softmax",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
