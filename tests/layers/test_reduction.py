import math

import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn.errors import PrototxtError, ShapeError
from caffe_spn.gradient_check import check_gradients
from tests import golden_cases
from tests.layers.running import SHAPES, Run, normal

OPERATIONS = {"SUM": float, "ASUM": abs, "SUMSQ": lambda v: v * v, "MEAN": float}


def reduction(operation="SUM", axis=0, coeff=1):
    rest = f"operation: {operation} axis: {axis} coeff: {coeff}"
    return f'type: "Reduction" reduction_param {{ {rest} }}'


def expected(x, operation, axis, coeff):
    y = np.empty(x.shape[:axis])
    for index in np.ndindex(*y.shape):
        total = sum(OPERATIONS[operation](float(v)) for v in x[index].ravel())
        y[index] = coeff * total / (x[index].size if operation == "MEAN" else 1)
    return y


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_forward(shape, operation, axis):
    x = normal(*shape)
    out = Run(reduction(operation, axis, -2.5), x).out
    wanted = expected(x, operation, axis % x.ndim, -2.5)
    assert out.shape == wanted.shape
    np.testing.assert_allclose(out, wanted, 1e-5, 1e-5)


def test_everything_is_summed_up_if_nothing_is_stated():
    x = normal(2, 3)
    assert Run('type: "Reduction"', x).out == pytest.approx(x.sum())


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_gradient(operation, axis):
    x = normal(2, 3, 4)
    assert np.abs(x).min() > 1e-4  # no kink of ASUM nearby
    check_gradients(reduction(operation, axis, 1.5), [x])


def test_the_derivative_of_asum_at_0_is_0():
    np.testing.assert_array_equal(Run(reduction("ASUM"), [-2, 0, 3]).backward(5)[0], [-5, 0, 5])


def test_the_gradient_is_written_only_where_wanted_and_not_added():
    run = Run(reduction("SUMSQ"), [1, 2])
    run.bottom[0].diff.fill(9)
    np.testing.assert_array_equal(run.backward(3, propagate=[False])[0], [9, 9])
    for _ in range(2):
        np.testing.assert_array_equal(run.backward(3)[0], [6, 12])


@pytest.mark.parametrize("weight", [1, 2.5])
def test_as_a_loss(weight, tmp_path):
    (tmp_path / "net.prototxt").write_text(f"""
        force_backward: true
        layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: [2, 3] }} }} }}
        layer {{ name: "l" type: "Reduction" bottom: "x" top: "l" loss_weight: {weight}
                 reduction_param {{ operation: SUMSQ axis: 1 coeff: 0.5 }} }}
    """)
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TRAIN)
    x = net.blobs["x"].data[...] = normal(2, 3)
    assert net.forward_loss() == pytest.approx(weight * 0.5 * float((x**2).sum()))
    net.backward()
    np.testing.assert_allclose(net.blobs["x"].diff, weight * x, 1e-6)


def test_without_a_weight_it_is_no_loss():
    assert not Run(reduction(), normal(2, 3)).layer.is_loss


@pytest.mark.parametrize("operation", ["SUM", "ASUM", "SUMSQ"])
def test_the_sum_of_nothing_is_0(operation):
    run = Run(reduction(operation, axis=1), np.zeros((2, 0, 3)))
    np.testing.assert_array_equal(run.out, [0, 0])
    assert run.backward(1.0)[0].shape == (2, 0, 3)


def test_the_mean_of_nothing_is_not_a_number():
    run = Run(reduction("MEAN"), np.zeros((0, 3)))
    assert math.isnan(run.out)
    assert run.backward(1.0)[0].shape == (0, 3)


def test_no_examples_give_no_sums():
    run = Run(reduction("MEAN", axis=1), np.zeros((0, 3)))
    assert run.out.shape == (0,)
    run.backward(0)


def test_nan_propagates():
    x = normal(2, 3)
    x[1, 2] = np.nan
    for operation in OPERATIONS:
        assert np.isnan(Run(reduction(operation, axis=1), x).out).tolist() == [False, True]


def test_a_long_sum_keeps_its_precision():
    x = np.full(1 << 20, 0.1, np.float32)
    assert Run(reduction("MEAN"), x).out == pytest.approx(0.1, rel=1e-6)


@pytest.mark.parametrize(("axis", "shape"), [(2, (2, 3)), (-3, (2, 3)), (0, ())])
def test_the_axis_must_exist(axis, shape):
    with pytest.raises(ShapeError, match=f"axis {axis} is out of range"):
        Run(reduction(axis=axis), np.zeros(shape))


def test_not_in_place():
    with pytest.raises(PrototxtError, match="cannot compute in place"):
        Run(reduction(), normal(2, 3), in_place=True)


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("Reduction",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
