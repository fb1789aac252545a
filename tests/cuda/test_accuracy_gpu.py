import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn.cuda import accuracy, label_losses, losses
from caffe_spn.errors import DataError, PrototxtError, ShapeError
from tests import golden_cases
from tests.cuda import both_devices
from tests.layers.running import Run, normal
from tests.layers.test_softmax_loss import IGNORED, labels_for


def layer(param=""):
    return f'type: "Accuracy" accuracy_param {{ {param} }}'


@pytest.mark.parametrize("tops", [1, 2])
@pytest.mark.parametrize("top_k", [1, 3])
@pytest.mark.parametrize("shape", [(2, 4, 3, 5), (300, 7), (1, 3, 1, 1), (2, 11, 17, 19)], ids=str)
def test_as_on_the_cpu(gpu, shape, top_k, tops):
    n, c, *inner = shape
    labels = labels_for(n, inner, c)
    definition = layer(f"ignore_label: {IGNORED} top_k: {top_k}")
    both_devices.compare(gpu, definition, normal(*shape), labels, tops=tops, gradient=False)


@pytest.mark.sanitized
@pytest.mark.parametrize("classes", [4, 5000])  # counted in shared memory, and not
def test_per_class_in_any_order(gpu_in_order, classes):
    labels = np.random.default_rng(1).integers(0, classes, 600)
    x = np.zeros((600, classes))
    x[np.arange(600), np.where(np.arange(600) % 3 == 0, labels, 0)] = 1
    both_devices.compare(gpu_in_order, layer(), x, labels, tops=2, gradient=False)


def test_other_axis(gpu):
    labels = np.random.default_rng(1).integers(0, 5, (2, 3))
    both_devices.compare(gpu, layer("axis: -1"), normal(2, 3, 5), labels, gradient=False)


def test_ties_and_nan_are_not_accurate(gpu):
    x = np.zeros((4, 3))
    x[1] = np.nan
    x[2, 0], x[3, 1] = 1, np.nan
    both_devices.compare(gpu, layer(), x, np.zeros(4), tops=2, gradient=False)


def test_nothing_counts(gpu):
    definition = layer(f"ignore_label: {IGNORED}")
    labels = np.full(3, IGNORED)
    both_devices.compare(gpu, definition, normal(3, 2), labels, tops=2, gradient=False)
    both_devices.compare(gpu, definition, np.zeros((0, 2)), [], tops=2, gradient=False)


@pytest.mark.parametrize("wrong", [4, -1, np.nan])
def test_wrong_labels(gpu, wrong):
    labels = np.zeros((2, 3))
    labels[1, 1] = wrong
    with pytest.raises(DataError) as on_cpu:
        Run(layer(), normal(2, 4, 3), labels)
    caffe.set_mode_gpu()
    run = Run(layer(), normal(2, 4, 3), labels, tops=2)
    with pytest.raises(DataError) as on_gpu:
        run.out.item()
    assert str(on_gpu.value) == str(on_cpu.value)


def test_there_is_no_gradient(gpu):
    caffe.set_mode_gpu()
    run = Run(layer(), normal(2, 4), [0, 1])
    with pytest.raises(PrototxtError, match="has no gradient"):
        run.layer.backward(run.top, [True, False], run.bottom)


def test_shapes_must_fit(gpu):
    labels = label_losses.Labels(gpu.array((6,)), 4, 3)
    outcome = losses.Outcome(gpu.array((1,)), gpu.array((4,), np.float64), 0.0)
    with pytest.raises(ShapeError, match=r"accuracy: scores is .* 24 elements"):
        accuracy.accuracy(gpu.array((2, 4, 2)), labels, 1, outcome)
    with pytest.raises(ShapeError, match="6 labels are not rows of 4 positions"):
        accuracy.accuracy(gpu.array((24,)), labels._replace(inner=4), 1, outcome)


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("Accuracy",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path, gpu):
    both_devices.run_golden(gpu, case, tmp_path)
