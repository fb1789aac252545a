import pytest

from caffe_spn.errors import ShapeError
from caffe_spn.gradient_check import check_gradients
from tests import golden_cases
from tests.layers.running import SHAPES, Run, normal

LOSS = 'type: "EuclideanLoss"'


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_forward(shape):
    a, b = normal(*shape), normal(*shape, seed=1)
    squares = [(float(x) - float(y)) ** 2 for x, y in zip(a.ravel(), b.ravel(), strict=True)]
    assert Run(LOSS, a, b).out == pytest.approx(sum(squares) / shape[0] / 2, rel=1e-5)


def test_gradients_of_both_bottoms_also_where_their_shapes_differ():
    check_gradients(LOSS, [(3, 2, 4), (3, 8)])


def test_only_wanted_gradients_are_written():
    first, second = Run(LOSS, [[3]], [[1]]).backward(1, propagate=[False, True])
    assert (first, second) == (0, -2)


@pytest.mark.parametrize(
    "a, b, message",
    [
        ((4, 3), (4, 2), "an example of them has 3 and 2 elements"),
        ((4, 3), (3, 4), "their first dimensions, the batch, must be equal"),
    ],
)
def test_errors(a, b, message):
    with pytest.raises(ShapeError, match=message):
        Run(LOSS, normal(*a), normal(*b))


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("EuclideanLoss",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
