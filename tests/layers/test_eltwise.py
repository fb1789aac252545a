import math

import numpy as np
import pytest

from caffe_spn.errors import PrototxtError, ShapeError
from caffe_spn.gradient_check import check_gradients
from tests import golden_cases
from tests.layers.running import SHAPES, Run, normal

COEFFICIENTS = (0.5, -2, 1, 3)


def definition(operation, rest=""):
    return f'type: "Eltwise" eltwise_param {{ operation: {operation} {rest} }}'


def coeff(count):
    return " ".join(f"coeff: {c}" for c in COEFFICIENTS[:count])


REDUCTIONS = {
    "PROD": math.prod,
    "SUM": sum,
    "MAX": max,
    "weighted": lambda values: sum(c * v for c, v in zip(COEFFICIENTS, values, strict=False)),
}


def named_definition(name, count):
    return definition("SUM", coeff(count)) if name == "weighted" else definition(name)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_forward(name, count, shape):
    inputs = [normal(*shape, seed=i) for i in range(count)]
    out = Run(named_definition(name, count), *inputs).out
    for index in np.ndindex(*shape):
        wanted = REDUCTIONS[name]([float(x[index]) for x in inputs])
        assert out[index] == pytest.approx(wanted, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_gradient(name, count):
    check_gradients(named_definition(name, count), [(2, 3, 4)] * count)


@pytest.mark.parametrize("count", [2, 3])
def test_gradient_of_the_unstable_product(count):
    rng = np.random.default_rng(0)
    inputs = [rng.uniform(0.5, 2, (2, 3)) for _ in range(count)]
    check_gradients(definition("PROD", "stable_prod_grad: false"), inputs)


def test_ties_of_the_maximum():
    # The second of the first two, then the earliest: Caffe's order.
    run = Run(definition("MAX"), [1, 0, 1], [1, 0, 1], [0, 1, 1])
    diffs = run.backward([5, 6, 7])
    np.testing.assert_array_equal(diffs, [[0, 0, 0], [5, 0, 7], [0, 6, 0]])


@pytest.mark.parametrize("position", [0, 1, 2])
def test_maximum_passes_nan_on(position):
    inputs = [np.ones(1) for _ in range(3)]
    inputs[position][0] = np.nan
    assert np.isnan(Run(definition("MAX"), *inputs).out).all()


@pytest.mark.parametrize("name", [*REDUCTIONS, "unstable"])
def test_in_place_equals_separate(name):
    text = (
        definition("PROD", "stable_prod_grad: false")
        if name == "unstable"
        else named_definition(name, 3)
    )
    inputs = [normal(2, 3, seed=i) for i in range(3)]
    runs = [Run(text, *inputs, in_place=i) for i in (False, True)]
    np.testing.assert_array_equal(runs[1].out, runs[0].out)
    top_diff = normal(2, 3, seed=9)
    np.testing.assert_array_equal(runs[1].backward(top_diff), runs[0].backward(top_diff))


def test_only_wanted_gradients_are_written():
    run = Run(definition("SUM"), [1], [2])
    first, second = run.backward([3], propagate=[False, True])
    assert (first, second) == (0, 3)


def test_shapes_must_agree():
    with pytest.raises(ShapeError, match=r"bottom 1 is \(1, 3\); .* bottom 0, \(2, 3\)"):
        Run(definition("SUM"), normal(2, 3), normal(1, 3))


def test_coefficients_must_be_complete():
    with pytest.raises(PrototxtError, match="has 1 coeff for 2 bottoms"):
        Run(definition("SUM", "coeff: 1"), normal(2), normal(2))


def test_product_takes_no_coefficients():
    with pytest.raises(PrototxtError, match="has coeff with operation PROD"):
        Run(definition("PROD", "coeff: 1 coeff: 2"), normal(2), normal(2))


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("Eltwise",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
