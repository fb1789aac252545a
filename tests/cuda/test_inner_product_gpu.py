"""InnerProduct on a GPU: against its CPU path, and against Caffe's records."""

import numpy as np
import pytest

import caffe_spn
from caffe_spn.errors import ShapeError
from tests import golden_cases
from tests.cuda import both_devices
from tests.cuda.arrays import normal
from tests.layers.running import Run

CASES = {
    "one": ("", (1, 1)),
    "map": ("", (2, 3, 4, 5)),
    "axis 2": ("axis: 2", (2, 3, 4, 5)),
    "axis 0": ("axis: 0", (3, 4)),
    "transposed": ("transpose: true", (4, 3, 2)),
    "no bias": ("bias_term: false", (3, 7)),
    "transposed, no bias, axis -1": ("transpose: true bias_term: false axis: -1", (2, 3, 5)),
    "many rows": ("", (700, 3)),
}


def definition(text):
    return f'type: "InnerProduct" inner_product_param {{ num_output: 6 {text} }}'


def parameters(run):
    return [normal(*blob.shape, seed=10 + i) for i, blob in enumerate(run.layer.blobs)]


@pytest.mark.sanitized
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_as_on_the_cpu(gpu, case):
    text, shape = case
    params = parameters(Run(definition(text), normal(*shape)))
    both_devices.compare(gpu, definition(text), normal(*shape), params=params, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_parameter_gradients_accumulate(gpu, case):
    text, shape = case
    found = []
    for set_mode in (caffe_spn.set_mode_cpu, caffe_spn.set_mode_gpu):
        set_mode()
        run = Run(definition(text), normal(*shape))
        for seed in (1, 2):
            run.backward(normal(*run.out.shape, seed=seed))
        found.append([blob.diff.copy() for blob in run.layer.blobs])
    for on_cpu, on_gpu in zip(*found, strict=True):
        np.testing.assert_allclose(on_gpu, on_cpu, 1e-4, 1e-4)


def test_no_images(gpu):
    both_devices.compare(gpu, definition(""), np.zeros((0, 3)))


def test_only_wanted_gradients_are_written(gpu):
    caffe_spn.set_mode_gpu()
    run = Run(definition(""), normal(2, 3), params=[normal(6, 3)])
    run.layer.param_propagate_down = [False, True]
    (bottom_diff,) = run.backward(np.ones((2, 6)), propagate=[False])
    assert not bottom_diff.any()
    assert not run.layer.blobs[0].diff.any()
    np.testing.assert_array_equal(run.layer.blobs[1].diff, [2] * 6)


def test_inputs_must_stay(gpu):
    caffe_spn.set_mode_gpu()
    run = Run(definition(""), normal(2, 3))
    run.bottom[0].reshape(2, 4)
    with pytest.raises(ShapeError, match="has 4 inputs from axis 1 on"):
        run.forward()


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("InnerProduct",)), ids=golden_cases.case_id
)
def test_as_caffe_recorded(gpu, case, tmp_path):
    both_devices.run_golden(gpu, case, tmp_path)
