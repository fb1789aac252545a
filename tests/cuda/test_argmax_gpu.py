import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn.cuda.argmax import argmax
from caffe_spn.errors import PrototxtError, ShapeError
from tests import golden_cases
from tests.cuda import both_devices
from tests.layers.running import Run, normal


def layer(param=""):
    return f'type: "ArgMax" argmax_param {{ {param} }}'


# A thread for each position, and a block for each.
SHAPES = [(2, 3, 4, 5), (1, 1), (3, 140), (2, 200, 3), (4, 3, 5, 7, 2)]


@pytest.mark.parametrize("values", ["false", "true"])
@pytest.mark.parametrize("top_k", [1, 3])
@pytest.mark.parametrize("axis", ["", "axis: 1", "axis: -1"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_as_on_the_cpu(gpu, shape, axis, top_k, values):
    length = np.prod(shape[1:]) if not axis else shape[int(axis.split()[1])]
    definition = layer(f"{axis} top_k: {min(top_k, length)} out_max_val: {values}")
    both_devices.compare(gpu, definition, normal(*shape), gradient=False, rtol=0, atol=0)


@pytest.mark.sanitized
@pytest.mark.parametrize("shape", [(5, 6, 3), (3, 300)], ids=str)
def test_in_any_order(gpu_in_order, shape):
    definition = layer("axis: 1 top_k: 4")
    both_devices.compare(gpu_in_order, definition, normal(*shape), gradient=False)


@pytest.mark.parametrize("length", [40, 400])
@pytest.mark.parametrize("top_k", [1, 25])
def test_ties_zeros_infinities_and_nan(gpu, top_k, length):
    rng = np.random.default_rng(0)
    x = rng.choice([0.0, -0.0, 1, -1, np.inf, -np.inf, np.nan], (6, length))
    x[0] = np.nan
    x[1] = -np.inf
    x[2] = np.where(x[2] == 0, x[2], -0.0)
    definition = layer(f"axis: 1 top_k: {top_k}")
    both_devices.compare(gpu, definition, x, gradient=False, rtol=0, atol=0)


def test_no_examples(gpu):
    both_devices.compare(gpu, layer("out_max_val: true"), np.zeros((0, 3)), gradient=False)


def test_there_is_no_gradient(gpu):
    caffe.set_mode_gpu()
    run = Run(layer(), normal(2, 4))
    with pytest.raises(PrototxtError, match="has no gradient"):
        run.layer.backward(run.top, [True], run.bottom)


def test_shapes_must_fit(gpu):
    x = gpu.array((2, 6))
    with pytest.raises(ShapeError, match="indices has 3 elements; results end at element 4"):
        argmax(x, (2, 6, 1), 2, gpu.array((3,)), None, (2, 1))
    with pytest.raises(ShapeError, match="6 elements to choose 7 from"):
        argmax(x, (2, 6, 1), 7, gpu.array((14,)), None, (7, 1))


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("ArgMax",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path, gpu):
    both_devices.run_golden(gpu, case, tmp_path)
