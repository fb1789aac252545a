import numpy as np
import pytest

from caffe_spn.cuda import softmax
from caffe_spn.errors import ShapeError
from tests import golden_cases
from tests.cuda import both_devices
from tests.layers.running import normal

LAYER = 'type: "Softmax"'

# Counts of classes around those that fit into registers; rows, maps, batches, single elements.
SHAPES = [(1, 1), (3, 4), (2, 11, 5, 3), (2, 12, 7), (1, 13, 1, 9), (2, 22, 3), (3, 32), (2, 32, 2)]
SHAPES += [(3, 33), (2, 33, 4), (5, 300), (2, 1500), (1, 60, 31)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_as_on_the_cpu(gpu, shape):
    both_devices.compare(gpu, LAYER, 5 * normal(*shape))


@pytest.mark.parametrize("axis", [0, 2, -1])
def test_other_axes(gpu, axis):
    both_devices.compare(gpu, f"{LAYER} softmax_param {{ axis: {axis} }}", normal(4, 3, 40, 2))


@pytest.mark.sanitized
@pytest.mark.parametrize("shape", [(2, 11, 5, 3), (3, 33), (2, 33, 4)], ids=str)
def test_in_any_order(gpu_in_order, shape):
    both_devices.compare(gpu_in_order, LAYER, normal(*shape))


@pytest.mark.parametrize("shape", [(2, 11, 3), (3, 200), (2, 40, 3)], ids=str)
def test_equal_in_bits(gpu, shape):
    both_devices.equal_in_bits(gpu, LAYER, normal(*shape), top_diffs=[normal(*shape, seed=1)])


@pytest.mark.parametrize("shape", [(2, 11, 3), (3, 200), (2, 40, 3)], ids=str)
def test_in_place(gpu, shape):
    both_devices.compare(gpu, LAYER, normal(*shape), in_place=True, gradient=False)


@pytest.mark.parametrize("classes", [4, 200])
def test_large_and_infinite_scores_and_nan(gpu, classes):
    x = normal(6, classes)
    x[0, 2] = 1e30
    x[1, 1] = -np.inf
    x[2, 0] = x[3, 3] = np.nan
    x[4, 0] = np.inf
    x[5] = -np.inf
    with np.errstate(invalid="ignore"):
        both_devices.compare(gpu, LAYER, x, gradient=False)


def test_no_positions(gpu):
    both_devices.compare(gpu, LAYER, np.zeros((0, 3, 4)))


def test_shapes_must_fit(gpu):
    x, y = gpu.array((2, 3)), gpu.array((2, 4))
    with pytest.raises(ShapeError, match=r"softmax_forward: y is \(2, 4\) .* 6 elements"):
        softmax.forward(x, y, (2, 3, 1))
    with pytest.raises(ShapeError, match="no classes"):
        softmax.forward(gpu.array((0,)), gpu.array((0,)), (2, 0, 1))


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("Softmax",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path, gpu):
    both_devices.run_golden(gpu, case, tmp_path)
