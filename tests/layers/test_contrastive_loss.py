import math

import numpy as np
import pytest

from caffe_spn.errors import PrototxtError, ShapeError
from caffe_spn.gradient_check import check_gradients
from tests import golden_cases
from tests.layers.running import Run, normal

SIMILAR = np.array([1, 0, 0, 1, 0, -2])


def loss(param=""):
    return f'type: "ContrastiveLoss" contrastive_loss_param {{ {param} }}'


def expected(a, b, similar, margin, legacy):
    total = 0.0
    for x, y, alike in zip(a, b, similar, strict=True):
        squared = sum((float(u) - float(v)) ** 2 for u, v in zip(x, y, strict=True))
        if int(alike):
            total += squared
        elif legacy:
            total += max(margin - squared, 0)
        else:
            total += max(margin - math.sqrt(squared), 0) ** 2
    return total / (2 * len(a))


@pytest.mark.parametrize("margin", [1, 2.5])
@pytest.mark.parametrize("legacy", ["false", "true"])
@pytest.mark.parametrize("axes", [2, 4])
def test_forward(margin, legacy, axes):
    a, b = normal(6, 3), normal(6, 3, seed=1)
    b[1] = a[1] + 0.1
    shape = (6, 3, 1, 1)[:axes]
    run = Run(
        loss(f"margin: {margin} legacy_version: {legacy}"),
        a.reshape(shape),
        b.reshape(shape),
        SIMILAR.reshape((6, 1, 1, 1)[:axes]),
    )
    wanted = expected(a, b, SIMILAR, margin, legacy == "true")
    assert run.out == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("legacy", ["false", "true"])
def test_gradients_of_both_sides(legacy):
    # Pairs at distances from 0.5 to 2 around the margin of 1.4: none is at a kink.
    a = np.random.default_rng(0).standard_normal((6, 3))
    direction = np.random.default_rng(1).standard_normal((6, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    b = a + direction * np.linspace(0.5, 2, 6)[:, None]
    text = loss(f"margin: 1.4 legacy_version: {legacy}")
    # Caffe adds 1e-4 to the distance that it divides by.
    check_gradients(text, [a, b, SIMILAR], check_bottoms=[0, 1], threshold=3e-4)


def test_equal_features_of_a_different_pair_have_a_finite_gradient():
    run = Run(loss(), np.ones((1, 2)), np.ones((1, 2)), [0])
    assert run.out == 0.5
    assert not run.backward(1)[0].any()


def test_fractions_are_cut_off():
    a, b = normal(2, 3), normal(2, 3, seed=1)
    assert Run(loss(), a, b, [0.9, 1.9]).out == Run(loss(), a, b, [0, 1]).out


@pytest.mark.parametrize("legacy", ["false", "true"])
def test_nan_propagates(legacy):
    run = Run(loss(f"legacy_version: {legacy}"), [[np.nan], [1]], [[0], [0]], [0, 0])
    assert np.isnan(run.out)
    assert np.isnan(run.backward(1)[0]).ravel().tolist() == [True, False]


def test_only_wanted_gradients_are_written():
    a, b, _ = Run(loss(), [[3]], [[1]], [1]).backward(1, propagate=[False, True, False])
    assert (a, b) == (0, -2)


def test_a_new_batch_size_is_followed():
    a, b = normal(4, 3), normal(4, 3, seed=1)
    run = Run(loss(), a[:2], b[:2], [0, 1])
    for blob, value in zip(run.bottom, (a, b, np.array([0, 1, 1, 0])), strict=True):
        blob.reshape(*value.shape)
        blob.data[...] = value
    run.forward()
    assert run.out == Run(loss(), a, b, [0, 1, 1, 0]).out


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((4, 3), (3, 3), (4,)), "their first dimensions, the batch, must be equal"),
        (((4, 3), (4, 2), (4,)), "they must have equally many channels"),
        (((4, 3, 2, 1), (4, 3), (4,)), r"bottom 0 is \(4, 3, 2, 1\); features are \(N, C\)"),
        (((4, 3), (4, 3, 1, 1, 1), (4,)), r"bottom 1 is \(4, 3, 1, 1, 1\); features"),
        (((4, 3), (4, 3), (3,)), r"the labels are \(3,\), 3 of them; .* of the 4 examples"),
    ],
)
def test_shapes_must_fit(shapes, message):
    with pytest.raises(ShapeError, match=message) as error:
        Run(loss(), *(np.zeros(shape) for shape in shapes))
    assert error.value.help


def test_labels_have_no_gradient():
    run = Run(loss(), normal(2, 3), normal(2, 3), [0, 1])
    with pytest.raises(PrototxtError, match=r"gradient for bottom 2 \('b2'\), the similarity"):
        run.backward(1, propagate=[True, True, True])


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("ContrastiveLoss",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
