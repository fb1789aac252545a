import math

import numpy as np
import pytest

from caffe_spn import DataError, ShapeError, metrics

K = 4


@pytest.fixture
def maps():
    rng = np.random.default_rng(3)
    truth = np.repeat(np.repeat(rng.integers(0, K - 1, (4, 5)), 5, 0), 4, 1)
    truth[8:12, 3:9] = 255
    prediction = np.where(rng.random(truth.shape) < 0.3, rng.integers(0, K - 1, truth.shape), truth)
    prediction[truth == 255] = K - 2
    return truth, prediction


def expected_confusion(truth, prediction, keep):
    out = np.zeros((K, K), int)
    for i in range(truth.shape[0]):
        for j in range(truth.shape[1]):
            if truth[i, j] != 255 and keep[i, j]:
                out[truth[i, j], prediction[i, j]] += 1
    return out


def expected_band(truth, width):
    """Pixels whose distance to a pixel on a boundary is below `width`."""
    height, length = truth.shape
    edges = []
    for i in range(height):
        for j in range(length):
            around = [(i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)]
            inside = [(y, x) for y, x in around if 0 <= y < height and 0 <= x < length]
            if any(truth[y, x] != truth[i, j] for y, x in inside):
                edges.append((i, j))
    band = np.zeros(truth.shape, bool)
    for i in range(height):
        for j in range(length):
            band[i, j] = any(math.hypot(i - y, j - x) <= width - 1 for y, x in edges)
    return band


def test_confusion_matrix_is_the_count(maps):
    want = expected_confusion(*maps, np.ones(maps[0].shape, bool))
    np.testing.assert_array_equal(metrics.confusion_matrix(*maps, K), want)
    mask = np.random.default_rng(0).random(maps[0].shape) < 0.5
    np.testing.assert_array_equal(
        metrics.confusion_matrix(*maps, K, mask=mask), expected_confusion(*maps, mask)
    )


def test_scores_from_plain_loops(maps):
    truth, prediction = maps
    c = expected_confusion(truth, prediction, np.ones(truth.shape, bool))
    score = metrics.SegmentationScore(K)
    score.add(truth[:, :7], prediction[:, :7])
    score.add(truth[:, 7:], prediction[:, 7:])
    got = score.summary()
    assert got["accuracy"] == pytest.approx(sum(c[k, k] for k in range(K)) / c.sum())
    recalls = [c[k, k] / c[k].sum() for k in range(K) if c[k].sum()]
    assert got["mean_accuracy"] == pytest.approx(sum(recalls) / len(recalls))
    ious = [c[k, k] / (c[k].sum() + c[:, k].sum() - c[k, k]) for k in range(K - 1)]
    assert got["class_iou"][: K - 1] == pytest.approx(ious)
    assert math.isnan(got["class_iou"][K - 1])  # a class that occurs nowhere
    assert got["mean_iou"] == pytest.approx(sum(ious) / len(ious))


@pytest.mark.parametrize("width", [1, 2, 3, 5])
def test_boundary_band_is_within_the_width(maps, width):
    np.testing.assert_array_equal(
        metrics.boundary_band(maps[0], width), expected_band(maps[0], width)
    )


def test_band_of_a_straight_boundary_has_three_pixels_on_each_side():
    truth = np.zeros((2, 12), int)
    truth[:, 6:] = 1
    assert metrics.boundary_band(truth)[0].tolist() == [False] * 3 + [True] * 6 + [False] * 3
    assert not metrics.boundary_band(np.ones((3, 3), int)).any()


def test_boundary_accuracy_counts_the_band_only(maps):
    truth, prediction = maps
    score = metrics.SegmentationScore(K)
    score.add(truth, prediction)
    c = expected_confusion(truth, prediction, expected_band(truth, 3))
    assert score.summary()["boundary_accuracy"] == pytest.approx(np.trace(c) / c.sum())


def test_nothing_counted_is_nan():
    score = metrics.SegmentationScore(2)
    assert math.isnan(score.summary()["accuracy"]) and math.isnan(score.summary()["mean_iou"])


def test_values_that_are_no_class_are_refused():
    with pytest.raises(DataError, match="the prediction has values from 0 to 2; 2 classes"):
        metrics.confusion_matrix(np.zeros(3, int), np.arange(3), 2)
    with pytest.raises(DataError, match="the truth has values"):
        metrics.confusion_matrix(np.arange(3), np.zeros(3, int), 2)
    with pytest.raises(ShapeError, match=r"\(2,\), the prediction \(3,\)"):
        metrics.confusion_matrix(np.zeros(2, int), np.zeros(3, int), 2)
