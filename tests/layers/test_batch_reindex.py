import numpy as np
import pytest

from caffe_spn.errors import DataError, PrototxtError, ShapeError
from caffe_spn.gradient_check import check_gradients
from tests import golden_cases
from tests.layers.running import SHAPES, Run, normal

REINDEX = 'type: "BatchReindex"'


def indices(count, rows, seed=0):
    return np.random.default_rng(seed).integers(0, rows, count)


def expected(x, index):
    return np.array([x[int(i)] for i in index]).reshape(len(index), *x.shape[1:])


def expected_gradient(top_diff, index, shape):
    diff = np.zeros(shape)
    for n, i in enumerate(index):
        diff[int(i)] += top_diff[n]
    return diff


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("shape", [*SHAPES.values(), (5,)], ids=[*SHAPES, "numbers"])
def test_forward_and_backward(shape, count):
    x, index = normal(*shape), indices(count, shape[0])
    run = Run(REINDEX, x, index)
    np.testing.assert_array_equal(run.out, expected(x, index))
    top_diff = normal(*run.out.shape, seed=1)
    wanted = expected_gradient(top_diff, index, shape)
    for _ in range(2):  # overwritten, not added up
        np.testing.assert_allclose(run.backward(top_diff)[0], wanted, 1e-5, 1e-6)


@pytest.mark.parametrize("index", [[2, 0, 1], [1, 1, 1, 3, 1], [3]])
def test_gradient(index):
    check_gradients(REINDEX, [(4, 2, 3), np.array(index)])


def test_fractions_are_cut_off():
    x = normal(3, 2)
    np.testing.assert_array_equal(Run(REINDEX, x, [2.9, -0.9]).out, x[[2, 0]])


def test_no_index_gives_no_examples():
    run = Run(REINDEX, normal(3, 2), np.zeros(0))
    assert run.out.shape == (0, 2)
    np.testing.assert_array_equal(run.backward(0)[0], np.zeros((3, 2)))


def test_the_number_of_indices_may_change():
    run = Run(REINDEX, normal(3, 2), [0])
    run.bottom[1].reshape(4)
    run.bottom[1].data[...] = [2, 2, 1, 0]
    run.forward()
    np.testing.assert_array_equal(run.out, run.bottom[0].data[[2, 2, 1, 0]])


def test_unwanted_gradients_are_not_written():
    run = Run(REINDEX, normal(3, 2), [0, 1])
    run.bottom[0].diff.fill(9)
    assert (run.backward(1.0, propagate=[False, False])[0] == 9).all()


@pytest.mark.parametrize("index", [3, -1, np.nan, np.inf, 1e10])
def test_indices_must_have_a_row(index):
    message = rf"index {index:g} at \(1,\) of bottom 1 \('b1'\), .* less than 3, the batch size"
    with pytest.raises(DataError, match=message.replace("+", r"\+")):
        Run(REINDEX, normal(3, 2), [0, index, 7])


def test_nothing_can_be_taken_from_nothing():
    with pytest.raises(DataError, match="less than 0, the batch size"):
        Run(REINDEX, np.zeros((0, 2)), [0])
    assert Run(REINDEX, np.zeros((0, 2)), np.zeros(0)).out.shape == (0, 2)


@pytest.mark.parametrize(
    ("data", "index", "message"),
    [
        ((2, 3), (2, 1), r"bottom 1 \(index\) is \(2, 1\); it must have one axis"),
        ((2, 3), (), r"bottom 1 \(index\) is \(\); it must have one axis"),
        ((), (2,), r"bottom 0 \(data\) is a single number"),
    ],
)
def test_shapes_are_checked(data, index, message):
    with pytest.raises(ShapeError, match=message):
        Run(REINDEX, np.zeros(data), np.zeros(index))


def test_indices_have_no_gradient():
    run = Run(REINDEX, normal(3, 2), [0, 1])
    with pytest.raises(PrototxtError, match=r"gradient for bottom 1 \('b1'\), the indices"):
        run.backward(1.0, propagate=[True, True])


def test_not_in_place():
    with pytest.raises(PrototxtError, match="cannot compute in place"):
        Run(REINDEX, normal(3, 2), [0, 1], in_place=True)


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("BatchReindex",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
