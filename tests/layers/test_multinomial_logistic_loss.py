import math

import numpy as np
import pytest

from caffe_spn.errors import DataError, PrototxtError, ShapeError
from caffe_spn.gradient_check import check_gradients
from tests import golden_cases
from tests.layers.running import Run, normal

LOSS = 'type: "MultinomialLogisticLoss"'


def probabilities(*shape):
    return np.random.default_rng(0).uniform(0.05, 0.9, shape)


@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 2, 2), (1, 1)])
def test_forward(shape):
    p = probabilities(*shape)
    rows = p.reshape(len(p), -1)
    labels = np.random.default_rng(1).integers(0, rows.shape[1], len(p))
    wanted = -sum(math.log(row[n]) for row, n in zip(rows, labels, strict=True)) / len(p)
    run = Run(LOSS, p, labels)
    assert run.out.shape == ()
    assert run.out == pytest.approx(wanted, rel=1e-5)


def test_gradient():
    check_gradients(LOSS, [probabilities(4, 3), np.array([0, 2, 1, 2])], threshold=1e-5)


def test_tiny_probabilities_count_as_the_threshold():
    run = Run(LOSS, [[0, 1], [1e-30, 1]], [0, 0])
    assert run.out == pytest.approx(-math.log(1e-20), rel=1e-6)
    np.testing.assert_allclose(run.backward(1)[0], [[-0.5e20, 0], [-0.5e20, 0]], 1e-6)


def test_nan_propagates():
    assert np.isnan(Run(LOSS, [[np.nan, 1]], [0]).out)


@pytest.mark.parametrize("wrong", [3, -1, np.nan])
def test_labels_must_be_classes(wrong):
    with pytest.raises(DataError, match=rf"label {wrong:g} at \(1,\) of bottom 1"):
        Run(LOSS, probabilities(2, 3), [0, wrong])


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ((4, 3), (5,), "their first dimensions, the batch, must be equal"),
        ((4, 3), (4, 2), r"the labels are \(4, 2\), 8 of them; .* of the 4 examples"),
    ],
)
def test_shapes_must_fit(scores, labels, message):
    with pytest.raises(ShapeError, match=message):
        Run(LOSS, np.zeros(scores), np.zeros(labels))


def test_labels_have_no_gradient():
    run = Run(LOSS, normal(2, 3), [0, 1])
    with pytest.raises(PrototxtError, match=r"gradient for bottom 1 \('b1'\), the labels"):
        run.backward(1, propagate=[True, True])


@pytest.mark.parametrize(
    "case",
    golden_cases.cases("layer", types=("MultinomialLogisticLoss",)),
    ids=golden_cases.case_id,
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
