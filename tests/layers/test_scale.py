import re

import numpy as np
import pytest

from caffe_spn.errors import PrototxtError, ShapeError
from caffe_spn.gradient_check import check_gradients
from tests import golden_cases
from tests.layers.running import Run, normal


def scale(rest=""):
    return f'type: "Scale" scale_param {{ {rest} }}'


def bias(rest=""):
    return f'type: "Bias" bias_param {{ {rest} }}'


def expected(x, start, scale, bias):
    """x * scale + bias, each operand's axes beginning at axis `start` of x."""
    y = np.empty_like(x)
    for index in np.ndindex(*x.shape):
        at = index[start : start + scale.ndim]
        y[index] = x[index] * scale[at] + bias[at]
    return y


# Parameters, the data's shape, where the operand begins and its shape.
PLACES = [
    ("", (2, 3, 4, 5), 1, (3,)),
    ("axis: 0", (2, 3), 0, (2,)),
    ("axis: -1", (2, 3, 4), 2, (4,)),
    ("axis: 1 num_axes: 2", (2, 3, 4, 5), 1, (3, 4)),
    ("axis: 1 num_axes: -1", (2, 3, 4), 1, (3, 4)),
    ("axis: 0 num_axes: -1", (1, 3), 0, (1, 3)),
    ("num_axes: 0", (2, 3, 4), 0, ()),
]


@pytest.mark.parametrize("rest, shape, start, operand", PLACES)
@pytest.mark.parametrize("learned", [True, False])
def test_scale(rest, shape, start, operand, learned):
    x, factor = normal(*shape), normal(*operand, seed=1)
    run = Run(scale(rest), x, *([] if learned else [factor]), params=[factor] * learned)
    np.testing.assert_allclose(run.out, expected(x, start, factor, np.zeros(operand)), 1e-6)


@pytest.mark.parametrize("rest, shape, start, operand", PLACES)
@pytest.mark.parametrize("learned", [True, False])
def test_bias(rest, shape, start, operand, learned):
    x, offset = normal(*shape), normal(*operand, seed=1)
    run = Run(bias(rest), x, *([] if learned else [offset]), params=[offset] * learned)
    np.testing.assert_allclose(run.out, expected(x, start, np.ones(operand), offset), 1e-6)


@pytest.mark.parametrize("rest, shape, start, operand", PLACES)
@pytest.mark.parametrize("learned", [True, False])
def test_scale_with_bias(rest, shape, start, operand, learned):
    x, factor, offset = normal(*shape), normal(*operand, seed=1), normal(*operand, seed=2)
    bottoms = [x] if learned else [x, factor]
    params = [factor, offset] if learned else [offset]
    run = Run(scale(rest + " bias_term: true"), *bottoms, params=params)
    np.testing.assert_allclose(run.out, expected(x, start, factor, offset), 1e-5, 1e-6)


@pytest.mark.parametrize("rest, shape, start, operand", PLACES)
def test_gradients(rest, shape, start, operand):
    for bottoms in ([shape], [shape, operand]):
        check_gradients(scale(rest + " bias_term: true"), bottoms)
        check_gradients(bias(rest), bottoms)


@pytest.mark.parametrize("definition", [scale(), scale("bias_term: true"), bias()])
@pytest.mark.parametrize("learned", [True, False])
def test_in_place_equals_separate(definition, learned):
    bottoms = [normal(2, 3, 4)] if learned else [normal(2, 3, 4), normal(3, seed=1)]
    params = [normal(3, seed=2), normal(3, seed=3)]
    top_diff = normal(2, 3, 4, seed=4)
    runs = [Run(definition, *bottoms, params=params, in_place=i) for i in (False, True)]
    np.testing.assert_array_equal(runs[1].out, runs[0].out)
    diffs = [run.backward(top_diff) + [b.diff for b in run.layer.blobs] for run in runs]
    for separate, in_place in zip(*diffs, strict=True):
        np.testing.assert_array_equal(in_place, separate)


def test_parameter_gradients_accumulate_and_bottom_gradients_do_not():
    for definition, wanted in ((scale("bias_term: true"), [12, 6]), (bias(), [6])):
        run = Run(definition, [[2.0]])
        run.backward([[3.0]])
        run.backward([[3.0]])
        assert [blob.diff for blob in run.layer.blobs] == wanted
    run = Run(scale(), [[2.0]], [5.0])
    run.backward([[3.0]])
    assert run.backward([[3.0]])[1] == 6


@pytest.mark.parametrize("make", [scale, bias])
def test_only_wanted_gradients_are_written(make):
    run = Run(make(), [[2.0]], [5.0])
    for wanted in (0, 1):
        run.bottom[0].diff[...] = run.bottom[1].diff[...] = 9
        diffs = run.backward([[3.0]], propagate=[i == wanted for i in (0, 1)])
        assert diffs[wanted] != 9 and diffs[1 - wanted] == 9


def test_parameters_start_as_identity_or_as_the_filler_says():
    run = Run(scale("bias_term: true"), normal(2, 3))
    assert [b.data.tolist() for b in run.layer.blobs] == [[1, 1, 1], [0, 0, 0]]
    run = Run(scale("filler { value: 2 } bias_term: true bias_filler { value: 3 }"), normal(2, 1))
    assert [b.data.tolist() for b in run.layer.blobs] == [[2], [3]]
    assert Run(bias("filler { value: 4 }"), normal(2, 1)).layer.blobs[0].data == 4


@pytest.mark.parametrize("make", [scale, bias])
@pytest.mark.parametrize(
    "rest, shapes, error, message",
    [
        ("axis: 2", [(2, 3)], ShapeError, "axis 2 is out of range"),
        ("num_axes: 2", [(2, 3)], ShapeError, r"\(2, 3\); it has no 2 axes from axis 1 on"),
        ("num_axes: -2", [(2, 3)], PrototxtError, "num_axes -2; it must be -1"),
        ("", [(2, 3), (2,)], ShapeError, r"^bottom 1 .* is \(2,\); .* from 1 on are \(3,\)"),
        ("", [(2, 3), (3, 4)], ShapeError, r"is \(3, 4\); .* from 1 on are \(3,\)"),
    ],
)
def test_errors(make, rest, shapes, error, message):
    with pytest.raises(error) as caught:
        Run(make(rest), *[normal(*s) for s in shapes])
    assert re.search(message, caught.value.message)


@pytest.mark.parametrize("make", [scale, bias])
def test_channels_cannot_change(make):
    run = Run(make(), normal(2, 3))
    run.bottom[0].reshape(2, 4)
    with pytest.raises(ShapeError, match=rf"the {make.__name__} is \(3,\); bottom 0 is \(2, 4\)"):
        run.forward()


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("Scale", "Bias")), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
