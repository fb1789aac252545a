import math

import numpy as np
import pytest

from caffe_spn.errors import DataError, PrototxtError, ShapeError, WeightsError
from caffe_spn.gradient_check import check_gradients
from caffe_spn.io import array_to_blobproto
from tests import golden_cases
from tests.layers.running import Run, normal

IGNORED = 255


def loss(loss_param="", infogain_param=""):
    return (
        f'type: "InfogainLoss" loss_param {{ {loss_param} }}'
        f" infogain_loss_param {{ {infogain_param} }}"
    )


def labels_for(outer, inner, classes):
    """Labels (outer, *inner), about a third of them to be ignored."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, (outer, *inner))
    labels[rng.random(labels.shape) < 0.3] = IGNORED
    labels.flat[0] = 0
    return labels.astype(np.float32)


def expected(x, labels, matrix, divisor):
    """Loss of scores (N, C, H, W) and labels (N, H, W)."""
    total = 0.0
    for n, h, w in np.ndindex(*labels.shape):
        if labels[n, h, w] != IGNORED:
            scores = [math.exp(float(v)) for v in x[n, :, h, w]]
            for weight, score in zip(matrix[int(labels[n, h, w])], scores, strict=True):
                total -= float(weight) * math.log(max(score / sum(scores), 1e-20))
    return total / divisor


DIVISORS = {
    "": "valid",
    "normalization: VALID": "valid",
    "normalization: FULL": "full",
    "normalization: BATCH_SIZE": "batch",
    "normalization: NONE": "none",
}


@pytest.mark.parametrize("shape", [(2, 4, 3, 5), (1, 2, 1, 1), (3, 1, 2, 1)])
@pytest.mark.parametrize("param", DIVISORS)
def test_forward(param, shape):
    n, c, h, w = shape
    x, labels, matrix = normal(*shape), labels_for(n, (h, w), c), normal(c, c, seed=1)
    divisors = {"valid": (labels != IGNORED).sum(), "full": n * h * w, "batch": n, "none": 1}
    run = Run(loss(f"ignore_label: {IGNORED} {param}"), x, labels, matrix)
    assert run.out.shape == ()
    wanted = expected(x, labels, matrix, divisors[DIVISORS[param]])
    assert run.out == pytest.approx(wanted, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("param", DIVISORS)
def test_gradient(param):
    labels = labels_for(2, (3, 2), 4)
    text = loss(f"ignore_label: {IGNORED} {param}")
    check_gradients(text, [(2, 4, 3, 2), labels, (4, 4)], check_bottoms=[0])


def test_gradient_along_the_last_axis_without_ignored_labels():
    labels = np.array([[0, 1, 2], [3, 0, 1]])
    check_gradients(loss("", "axis: -1"), [(2, 3, 4), labels, (1, 1, 4, 4)], check_bottoms=[0])


def test_the_unit_matrix_gives_the_softmax_loss():
    x, labels = normal(2, 4, 3, 5), labels_for(2, (3, 5), 4)
    ours = Run(loss("ignore_label: 255"), x, labels, np.eye(4))
    softmax = Run('type: "SoftmaxWithLoss" loss_param { ignore_label: 255 }', x, labels)
    assert ours.out == pytest.approx(softmax.out, rel=1e-6)
    np.testing.assert_allclose(ours.backward(1)[0], softmax.backward(1)[0], 1e-5, 1e-7)


def write_matrix(path, matrix):
    path.write_bytes(array_to_blobproto(matrix).SerializeToString())
    return f'source: "{path}"'


@pytest.mark.parametrize("shape", [(3, 3), (1, 1, 3, 3), (9,)])
def test_matrix_from_a_file(shape, tmp_path):
    x, labels, matrix = normal(2, 3), [2, 0], normal(3, 3, seed=1)
    source = write_matrix(tmp_path / "h.binaryproto", matrix.reshape(shape))
    run = Run(loss("", source), x, labels)
    assert run.out == Run(loss(), x, labels, matrix).out


def test_a_third_bottom_overrides_the_source(tmp_path):
    x, labels, matrix = normal(2, 3), [2, 0], normal(3, 3, seed=1)
    source = write_matrix(tmp_path / "h.binaryproto", np.eye(3))
    with pytest.warns(UserWarning, match="takes its matrix from bottom 2"):
        run = Run(loss("", source), x, labels, matrix)
    assert run.out == Run(loss(), x, labels, matrix).out


def test_second_top_is_the_probabilities():
    x = normal(2, 4, 3, 5)
    run = Run(loss(), x, np.zeros((2, 3, 5)), np.eye(4), tops=2)
    np.testing.assert_array_equal(run.top[1].data, Run('type: "Softmax"', x).out)


def test_all_ignored_costs_nothing():
    run = Run(loss("ignore_label: 255"), normal(2, 3), np.full(2, IGNORED), np.eye(3))
    assert run.out == 0
    np.testing.assert_array_equal(run.backward(1)[0], 0)


def test_probability_zero_costs_what_the_threshold_costs():
    assert Run(loss(), [[0, 1000]], [0], np.eye(2)).out == pytest.approx(-math.log(1e-20))


def test_nan_propagates():
    run = Run(loss(), [[np.nan, 0], [0, 0]], [0, 1], np.eye(2))
    assert np.isnan(run.out)
    assert np.isnan(run.backward(1)[0]).tolist() == [[True, True], [False, False]]


def test_labels_must_be_classes():
    with pytest.raises(DataError, match=r"label 4 at \(1,\) of bottom 1") as error:
        Run(loss(), normal(2, 4), [0, 4], np.eye(4))
    assert "loss_param { ignore_label: ... }" in error.value.help


@pytest.mark.parametrize(
    ("scores", "labels", "matrix", "message"),
    [
        ((4, 3), (5,), (3, 3), "their first dimensions, the batch, must be equal"),
        ((2, 3, 4, 5), (2, 4, 4), (3, 3), r"is \(2, 4, 4\), 32 labels; .* so it needs 40"),
        ((2, 0), (2,), (0,), r"\(2, 0\): it has no classes"),
        ((2, 3), (2,), (3, 4), r"matrix of shape \(3, 4\); .* it must have 3 x 3 elements"),
    ],
)
def test_shapes_must_fit(scores, labels, matrix, message):
    with pytest.raises(ShapeError, match=message):
        Run(loss(), np.zeros(scores), np.zeros(labels), np.zeros(matrix))


def test_a_matrix_is_needed(tmp_path):
    with pytest.raises(PrototxtError, match="has no infogain matrix"):
        Run(loss(), normal(2, 3), [0, 1])
    with pytest.raises(WeightsError, match=r"missing\.binaryproto"):
        Run(loss("", f'source: "{tmp_path}/missing.binaryproto"'), normal(2, 3), [0, 1])
    with pytest.raises(ShapeError, match=r"matrix of shape \(2, 2\)"):
        source = write_matrix(tmp_path / "h.binaryproto", np.eye(2))
        Run(loss("", source), normal(2, 3), [0, 1])


def test_the_old_form_of_normalization_is_refused():
    with pytest.raises(PrototxtError, match="normalize }, which InfogainLoss does not know"):
        Run(loss("normalize: true"), normal(2, 3), [0, 1], np.eye(3))


@pytest.mark.parametrize(("i", "name"), [(1, "labels"), (2, "infogain")])
def test_labels_and_matrix_have_no_gradient(i, name):
    run = Run(loss(), normal(2, 3), [0, 1], np.eye(3))
    with pytest.raises(PrototxtError, match=rf"gradient for bottom {i} \('b{i}'\), the {name}"):
        run.backward(1, propagate=[j in (0, i) for j in range(3)])


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("InfogainLoss",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
