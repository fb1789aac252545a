import numpy as np
import pytest

from caffe_spn.errors import DataError, PrototxtError, ShapeError
from tests import golden_cases
from tests.layers.running import TEST, Run, normal


def accuracy(rest=""):
    return f'type: "Accuracy" accuracy_param {{ {rest} }}'


def expected(x, labels, top_k, ignore, classes):
    """Overall and per class, of scores (N, C, H, W) and labels (N, H, W)."""
    right, total = np.zeros(classes), np.zeros(classes)
    for n, h, w in np.ndindex(*labels.shape):
        label = int(labels[n, h, w])
        if label != ignore:
            better = sum(v >= x[n, label, h, w] for v in x[n, :, h, w]) - 1
            total[label] += 1
            right[label] += better < top_k
    return right.sum() / max(1, total.sum()), right / np.maximum(1, total)


@pytest.mark.parametrize("shape", [(2, 4, 3, 5), (1, 3, 1, 1), (6, 5, 1, 1)])
@pytest.mark.parametrize("top_k", [1, 2])
@pytest.mark.parametrize("ignore", [None, 0])
def test_forward(shape, top_k, ignore):
    n, c, h, w = shape
    x = normal(*shape)
    labels = np.random.default_rng(0).integers(0, c - 1, (n, h, w))
    rest = f"top_k: {top_k}" + ("" if ignore is None else f" ignore_label: {ignore}")
    run = Run(accuracy(rest), x, labels, tops=2, phase=TEST)
    overall, per_class = expected(x, labels, top_k, ignore, c)
    assert run.out == pytest.approx(overall)
    np.testing.assert_allclose(run.top[1].data, per_class, 1e-6)


def test_axis_and_label_shape():
    x = np.eye(3)[None, :, :]
    assert Run(accuracy("axis: -1"), x, [[0, 1, 0]]).out == pytest.approx(2 / 3)


def test_equal_scores_are_not_accurate():
    assert Run(accuracy(), np.zeros((4, 2)), [0, 1, 0, 1]).out == 0


def test_nan_is_not_accurate():
    assert Run(accuracy(), np.full((2, 3), np.nan), [0, 1]).out == 0


def test_nothing_that_counts_is_zero():
    run = Run(accuracy("ignore_label: 9"), normal(2, 3), [9, 9], tops=2)
    assert run.out == 0
    np.testing.assert_array_equal(run.top[1].data, 0)


@pytest.mark.parametrize(
    "rest, scores, labels, message",
    [
        ("top_k: 4", (4, 3), (4,), "top_k 4, .* has 3 classes along axis 1"),
        ("", (4, 3), (5,), "5 labels; .* so it needs 4"),
        ("axis: 2", (4, 3), (4,), "axis 2 is out of range"),
    ],
)
def test_errors(rest, scores, labels, message):
    with pytest.raises(ShapeError, match=message):
        Run(accuracy(rest), normal(*scores), np.zeros(labels))


def test_labels_must_be_classes():
    with pytest.raises(DataError, match=r"label 3 at \(1,\) .* there are 3 classes"):
        Run(accuracy(), normal(2, 3), [2, 3])


def test_there_is_no_gradient():
    run = Run(accuracy(), normal(2, 3), [0, 1])
    run.backward(1)
    with pytest.raises(PrototxtError, match="has no gradient"):
        run.backward(1, propagate=[True, False])


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("Accuracy",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
