import numpy as np
import pytest

from caffe_spn.errors import PrototxtError, ShapeError
from caffe_spn.gradient_check import check_gradients
from tests import golden_cases
from tests.layers.running import SHAPES, Run, normal


def tile(rest):
    return f'type: "Tile" tile_param {{ {rest} }}'


def expected(x, axis, tiles):
    y = np.empty(x.shape[:axis] + (x.shape[axis] * tiles,) + x.shape[axis + 1 :])
    for index in np.ndindex(*y.shape):
        y[index] = x[index[:axis] + (index[axis] % x.shape[axis],) + index[axis + 1 :]]
    return y


@pytest.mark.parametrize("tiles", [1, 3])
@pytest.mark.parametrize("axis", [0, 1, -1, -2])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_forward(shape, axis, tiles):
    x = normal(*shape)
    out = Run(tile(f"axis: {axis} tiles: {tiles}"), x).out
    np.testing.assert_array_equal(out, expected(x, axis % x.ndim, tiles))


def test_the_axis_is_1_if_not_stated():
    assert Run(tile("tiles: 4"), normal(2, 3, 5)).out.shape == (2, 12, 5)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gradient(axis):
    check_gradients(tile(f"axis: {axis} tiles: 3"), [(2, 3, 4)])


def test_the_gradient_is_written_only_where_wanted_and_not_added():
    run = Run(tile("tiles: 2"), normal(1, 2))
    top_diff = [[1, 2, 3, 4]]
    run.bottom[0].diff.fill(9)
    np.testing.assert_array_equal(run.backward(top_diff, propagate=[False])[0], [[9, 9]])
    np.testing.assert_array_equal(run.backward(top_diff)[0], [[4, 6]])
    np.testing.assert_array_equal(run.backward(top_diff)[0], [[4, 6]])


@pytest.mark.parametrize("shape", [(0, 2, 3), (2, 0, 3), (2, 3, 0)])
def test_nothing_stays_nothing(shape):
    run = Run(tile("tiles: 2"), np.zeros(shape))
    assert run.out.shape == (shape[0], shape[1] * 2, shape[2])
    assert run.backward(0)[0].shape == shape


def test_the_bottom_may_change():
    run = Run(tile("tiles: 2"), normal(1, 2))
    run.bottom[0].reshape(3, 1, 2)
    run.forward()
    assert run.out.shape == (3, 2, 2)


@pytest.mark.parametrize(
    ("rest", "error", "message"),
    [
        ("", PrototxtError, "does not say tiles; it must be positive"),
        ("tiles: 0", PrototxtError, "has tiles 0; it must be positive"),
        ("tiles: -2", PrototxtError, "has tiles -2; it must be positive"),
        ("tiles: 2 axis: 2", ShapeError, "axis 2 is out of range"),
        ("tiles: 2 axis: -3", ShapeError, "axis -3 is out of range"),
        ("tiles: 2000000000", ShapeError, "12000000000 elements"),
    ],
)
def test_errors(rest, error, message):
    with pytest.raises(error, match=message):
        Run(tile(rest), normal(2, 3))


def test_not_in_place():
    with pytest.raises(PrototxtError, match="cannot compute in place"):
        Run(tile("tiles: 1"), normal(2, 3), in_place=True)


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("Tile",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
