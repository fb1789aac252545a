import numpy as np
import pytest

from caffe_spn.cuda import reduction
from caffe_spn.errors import ShapeError
from tests import golden_cases
from tests.cuda import both_devices
from tests.layers.running import normal

OPERATIONS = ["SUM", "ASUM", "SUMSQ", "MEAN"]


def layer(operation, param=""):
    return f'type: "Reduction" reduction_param {{ operation: {operation} {param} }}'


@pytest.mark.parametrize("param", ["", "axis: 1 coeff: 2.5", "axis: 2", "axis: -1 coeff: 1"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_as_on_the_cpu(gpu, operation, param):
    both_devices.compare(gpu, layer(operation, param), normal(3, 4, 5, 7), atol=1e-5)


@pytest.mark.parametrize("shape", [(1,), (5, 1), (3, 1000), (2, 5003), (2000, 3), (1, 9000)])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_rows_of_any_length(gpu, operation, shape):
    axis = len(shape) - 1
    x = normal(*shape) + 1
    both_devices.compare(gpu, layer(operation, f"axis: {axis}"), x, atol=1e-5)


@pytest.mark.sanitized
@pytest.mark.parametrize("operation", OPERATIONS)
def test_in_any_order(gpu_in_order, operation):
    both_devices.compare(gpu_in_order, layer(operation, "axis: 1"), normal(3, 2001), atol=1e-4)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_equal_in_bits(gpu, operation):
    both_devices.equal_in_bits(gpu, layer(operation), normal(3, 2001), top_diffs=[2.0])


def test_a_long_sum_keeps_its_digits(gpu):
    # Added up in float32 one after the other, they would be 16777216.
    (top,), _, _ = both_devices.run(gpu, layer("SUM"), np.ones(20_000_000, np.float32))
    assert top == 20_000_000


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_elements(gpu, operation):
    both_devices.compare(gpu, layer(operation, "axis: 1"), np.zeros((3, 0)))
    both_devices.compare(gpu, layer(operation, "axis: 1"), np.zeros((0, 3)))


def test_nan_stays(gpu):
    for operation in OPERATIONS:
        both_devices.compare(gpu, layer(operation, "axis: 1"), [[1, np.nan, 2], [1, 2, np.inf]])


def test_shapes_must_fit(gpu):
    with pytest.raises(ShapeError, match=r"it must be \(rows, length\)"):
        reduction.row_sums("sum", gpu.array((2, 3, 4)), gpu.array((2,)))
    with pytest.raises(ShapeError, match=r"sums is .* 2 elements"):
        reduction.row_sums("sum", gpu.array((2, 3)), gpu.array((3,)))


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("Reduction",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path, gpu):
    both_devices.run_golden(gpu, case, tmp_path)
