import numpy as np
import pytest

from caffe_spn.errors import DataError, PrototxtError, ShapeError
from caffe_spn.gradient_check import check_gradients
from tests import golden_cases
from tests.layers.running import Run, normal


def loss(norm="L1"):
    return f'type: "HingeLoss" hinge_loss_param {{ norm: {norm} }}'


def expected(x, labels, power):
    """Loss of scores (N, classes)."""
    total = 0.0
    for scores, label in zip(x, labels, strict=True):
        for c, score in enumerate(scores):
            sign = 1 if c == int(label) else -1
            total += max(0, 1 - sign * float(score)) ** power
    return total / len(x)


@pytest.mark.parametrize(("norm", "power"), [("L1", 1), ("L2", 2)])
@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 2, 2), (1, 1)])
def test_forward(norm, power, shape):
    x = 2 * normal(*shape)
    rows = x.reshape(len(x), -1)
    labels = np.random.default_rng(0).integers(0, rows.shape[1], len(x))
    run = Run(loss(norm), x, labels)
    assert run.out.shape == ()
    assert run.out == pytest.approx(expected(rows, labels, power), rel=1e-5)


@pytest.mark.parametrize("norm", ["L1", "L2"])
def test_gradient(norm):
    # Caffe's own test leaves out what lies this near to a margin.
    labels = np.array([0, 2, 3, 1])
    check_gradients(loss(norm), [(4, 5), labels], kink=1, kink_range=0.01)


def test_no_norm_is_l1():
    x, labels = normal(4, 3), [0, 2, 1, 1]
    assert Run('type: "HingeLoss"', x, labels).out == Run(loss(), x, labels).out


def test_met_margins_have_no_gradient():
    (diff, _) = Run(loss(), [[1, -1, 0.5]], [0]).backward(1)
    assert diff.tolist() == [[0, 0, 1]]


def test_nan_propagates():
    run = Run(loss(), [[np.nan, 0], [0, 0]], [0, 1])
    assert np.isnan(run.out)
    assert np.isnan(run.backward(1)[0]).tolist() == [[True, False], [False, False]]


def test_labels_may_have_more_axes():
    x = normal(2, 3)
    assert Run(loss(), x, [[[[2]]], [[[1]]]]).out == Run(loss(), x, [2, 1]).out


@pytest.mark.parametrize("wrong", [3, -1, np.nan])
def test_labels_must_be_classes(wrong):
    with pytest.raises(DataError, match=rf"label {wrong:g} at \(1,\) of bottom 1") as error:
        Run(loss(), normal(2, 3), [0, wrong])
    assert error.value.help == "correct the labels, or give the layer below more outputs"


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ((4, 3), (5,), "their first dimensions, the batch, must be equal"),
        ((4, 3), (4, 2), r"the labels are \(4, 2\), 8 of them; .* of the 4 examples"),
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
    "case", golden_cases.cases("layer", types=("HingeLoss",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
