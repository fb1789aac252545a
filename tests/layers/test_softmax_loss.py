import math

import numpy as np
import pytest

from caffe_spn.errors import DataError, PrototxtError, ShapeError
from caffe_spn.gradient_check import check_gradients
from tests import golden_cases
from tests.layers.running import Run, normal

IGNORED = 255


def loss(loss_param="", softmax_param=""):
    return (
        f'type: "SoftmaxWithLoss" loss_param {{ {loss_param} }} softmax_param {{ {softmax_param} }}'
    )


def labels_for(outer, inner, classes, seed=0):
    """Labels (outer, *inner), about a third of them to be ignored."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, (outer, *inner))
    labels[rng.random(labels.shape) < 0.3] = IGNORED
    labels.flat[0] = 0
    return labels.astype(np.float32)


def expected(x, labels, divisor):
    """Loss of scores (N, C, H, W) and labels (N, H, W)."""
    total = 0.0
    for n, h, w in np.ndindex(*labels.shape):
        if labels[n, h, w] != IGNORED:
            scores = [math.exp(float(v)) for v in x[n, :, h, w]]
            total -= math.log(scores[int(labels[n, h, w])] / sum(scores))
    return total / divisor


DIVISORS = {
    "": "valid",
    "normalization: VALID": "valid",
    "normalization: FULL": "full",
    "normalization: BATCH_SIZE": "batch",
    "normalization: NONE": "none",
    "normalize: true": "valid",
    "normalize: false": "batch",
    "normalize: false normalization: FULL": "full",
}


@pytest.mark.parametrize("shape", [(2, 4, 3, 5), (1, 2, 1, 1), (3, 1, 2, 1)])
@pytest.mark.parametrize("param", DIVISORS)
def test_forward(param, shape):
    n, c, h, w = shape
    x, labels = normal(*shape), labels_for(n, (h, w), c)
    divisors = {"valid": (labels != IGNORED).sum(), "full": n * h * w, "batch": n, "none": 1}
    run = Run(loss(f"ignore_label: {IGNORED} {param}"), x, labels)
    assert run.out.shape == ()
    assert run.out == pytest.approx(expected(x, labels, divisors[DIVISORS[param]]), rel=1e-5)


@pytest.mark.parametrize("param", DIVISORS)
def test_gradient(param):
    labels = labels_for(2, (3, 5), 4)
    check_gradients(loss(f"ignore_label: {IGNORED} {param}"), [(2, 4, 3, 5), labels])


def test_gradient_along_the_last_axis_without_ignored_labels():
    check_gradients(loss("", "axis: -1"), [(2, 3, 4), np.array([[0, 1, 2], [3, 0, 1]])])


def test_labels_may_have_a_channel_axis():
    x, labels = normal(2, 4, 3, 5), labels_for(2, (3, 5), 4)
    runs = [Run(loss("ignore_label: 255"), x, a) for a in (labels, labels[:, None])]
    assert runs[0].out == runs[1].out


@pytest.mark.parametrize("shape", [(2, 6, 3, 5), (3, 4, 3, 5), (2, 4, 5, 3)])
def test_a_new_shape_is_followed(shape):
    run = Run(loss(), normal(2, 4, 3, 5), np.zeros((2, 3, 5)))
    n, c, h, w = shape
    x, labels = normal(*shape), np.random.default_rng(0).integers(0, c, (n, h, w))
    for blob, value in zip(run.bottom, (x, labels), strict=True):
        blob.reshape(*value.shape)
        blob.data[...] = value
    run.forward()
    assert run.out == Run(loss(), x, labels).out


def test_second_top_is_the_probabilities():
    x = normal(2, 4, 3, 5)
    run = Run(loss(), x, np.zeros((2, 3, 5)), tops=2)
    np.testing.assert_array_equal(run.top[1].data, Run('type: "Softmax"', x).out)


def test_all_ignored_costs_nothing():
    run = Run(loss("ignore_label: 255"), normal(2, 3), np.full(2, IGNORED))
    assert run.out == 0
    np.testing.assert_array_equal(run.backward(1)[0], 0)


def test_probability_zero_costs_what_the_smallest_float_costs():
    assert Run(loss(), [[0, 1000]], [0]).out == pytest.approx(87.33655, abs=1e-4)


def test_loss_weight_scales_the_gradient():
    x, labels = normal(2, 3), [0, 2]
    once, twice = (Run(loss(), x, labels).backward(w)[0] for w in (1, 2))
    np.testing.assert_allclose(twice, 2 * once, 1e-6)


@pytest.mark.parametrize("wrong", [4, -1, 255, np.nan])
def test_labels_must_be_classes(wrong):
    labels = np.zeros((2, 3, 5))
    labels[1, 2, 3] = labels[1, 2, 4] = wrong
    with pytest.raises(DataError) as caught:
        Run(loss("ignore_label: 7"), normal(2, 4, 3, 5), labels)
    assert str(caught.value) == (
        "layer 'tested' (SoftmaxWithLoss)\n"
        f"  label {wrong:g} at (1, 2, 3) of bottom 1, shape (2, 3, 5); there are 4 classes, so"
        " labels go from 0 to 3\n"
        "  help: correct the labels, give the layer below more outputs, or leave such labels out"
        " with loss_param { ignore_label: ... }"
    )


def test_ignored_labels_outside_the_classes_hide_no_others():
    with pytest.raises(DataError, match=r"label 9 at \(1,\)"):
        Run(loss("ignore_label: -1"), normal(3, 4), [-1, 9, 0])


@pytest.mark.parametrize(
    "scores, labels, message",
    [
        ((4, 3), (5,), "their first dimensions, the batch, must be equal"),
        ((), (), "their first dimensions, the batch, must be equal"),
        ((2, 3, 4, 5), (2, 4, 4), r"is \(2, 4, 4\), 32 labels; .* so it needs 40"),
        ((2, 0), (2,), r"\(2, 0\): it has no classes"),
        ((2,), (2,), "axis 1 is out of range"),
    ],
)
def test_shapes_must_fit(scores, labels, message):
    with pytest.raises(ShapeError, match=message):
        Run(loss(), np.zeros(scores), np.zeros(labels))


def test_labels_have_no_gradient():
    run = Run(loss(), normal(2, 3), [0, 1])
    with pytest.raises(PrototxtError, match=r"gradient for bottom 1 \('b1'\), the labels"):
        run.backward(1, propagate=[True, True])


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("SoftmaxWithLoss",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
