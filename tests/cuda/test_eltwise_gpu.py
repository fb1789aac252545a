"""Eltwise on a GPU: against its CPU path, and against Caffe's records."""

import numpy as np
import pytest

import caffe_spn
from tests import golden_cases
from tests.cuda import both_devices
from tests.layers.running import Run, normal

OPERATIONS = {
    "product": "operation: PROD",
    "unstable product": "operation: PROD stable_prod_grad: false",
    "sum": "operation: SUM",
    "maximum": "operation: MAX",
}
SHAPES = {"one": (1,), "odd": (3, 5, 7), "even": (2, 3, 4, 4), "none": (0, 3)}
EACH_SHAPE = pytest.mark.parametrize(
    "shape",
    [
        pytest.param(shape, id=name, marks=[pytest.mark.sanitized] if name == "odd" else [])
        for name, shape in SHAPES.items()
    ],
)
# Bottoms of one launch, and of two and three.
COUNTS = (2, 3, 4, 5, 7, 9)


def definition(operation, rest=""):
    return f'type: "Eltwise" eltwise_param {{ {OPERATIONS[operation]} {rest} }}'


def inputs(count, *shape):
    return [normal(*shape, seed=i) for i in range(count)]


@pytest.mark.parametrize("count", COUNTS)
@EACH_SHAPE
@pytest.mark.parametrize("operation", OPERATIONS)
def test_as_on_the_cpu(operation, shape, count, gpu):
    both_devices.compare(gpu, definition(operation), *inputs(count, *shape), rtol=1e-4)


@pytest.mark.parametrize("count", COUNTS)
def test_weights(count, gpu):
    weights = " ".join(f"coeff: {w}" for w in (0.5, -2, 1, 3, 0, 0.1, 7, -1, 4)[:count])
    both_devices.compare(gpu, definition("sum", weights), *inputs(count, 3, 5))


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_in_place_equals_separate(operation, count, gpu):
    caffe_spn.set_mode_gpu()
    bottoms = inputs(count, 3, 5)
    runs = [Run(definition(operation), *bottoms, in_place=i) for i in (False, True)]
    np.testing.assert_array_equal(runs[1].out, runs[0].out)
    top_diff = normal(3, 5, seed=99)
    np.testing.assert_array_equal(runs[1].backward(top_diff), runs[0].backward(top_diff))


@pytest.mark.parametrize("count", [4, 7])
def test_ties_of_the_maximum(count, gpu):
    rng = np.random.default_rng(0)
    bottoms = rng.integers(0, 2, (count, 200)).astype(np.float32)
    both_devices.compare(gpu, definition("maximum"), *bottoms)


@pytest.mark.parametrize("count", [2, 5])
def test_maximum_passes_nan_on(count, gpu):
    bottoms = np.ones((count, count), np.float32)
    np.fill_diagonal(bottoms, np.nan)
    tops, _, _ = both_devices.run(gpu, definition("maximum"), *bottoms)
    assert np.isnan(tops[0]).all()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_only_wanted_gradients_are_written(operation, gpu):
    caffe_spn.set_mode_gpu()
    run = Run(definition(operation), *inputs(3, 4))
    diffs = run.backward(normal(4), propagate=[False, True, False])
    assert [d.any() for d in diffs] == [False, True, False]


def test_so_many_maxima_are_taken_on_the_host(gpu):
    caffe_spn.set_mode_gpu()
    run = Run(definition("maximum"), *(np.full(1, i) for i in range(300)))
    assert run.out == 299
    assert [d[0] for d in run.backward([1])[-2:]] == [0, 1]


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("Eltwise",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path, gpu):
    both_devices.run_golden(gpu, case, tmp_path)
