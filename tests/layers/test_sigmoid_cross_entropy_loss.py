import math

import numpy as np
import pytest

from caffe_spn.errors import PrototxtError, ShapeError
from caffe_spn.gradient_check import check_gradients
from tests import golden_cases
from tests.layers.running import Run, normal

IGNORED = -1


def loss(param=""):
    return f'type: "SigmoidCrossEntropyLoss" loss_param {{ {param} }}'


def targets_for(*shape):
    rng = np.random.default_rng(1)
    targets = rng.random(shape).astype(np.float32)
    targets[rng.random(shape) < 0.3] = IGNORED
    return targets


def expected(x, targets, divisor):
    total = 0.0
    for score, target in zip(x.ravel(), targets.ravel(), strict=True):
        if target != IGNORED:
            p = 1 / (1 + math.exp(-float(score)))
            total -= target * math.log(p) + (1 - target) * math.log(1 - p)
    return total / divisor


DIVISORS = {
    "": "batch",
    "normalization: VALID": "valid",
    "normalization: FULL": "full",
    "normalization: BATCH_SIZE": "batch",
    "normalization: NONE": "none",
    "normalize: true": "valid",
    "normalize: false": "batch",
}


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (4, 1), (3,)])
@pytest.mark.parametrize("param", DIVISORS)
def test_forward(param, shape):
    x, targets = normal(*shape), targets_for(*shape)
    valid = int((targets != IGNORED).sum())
    divisors = {"valid": max(1, valid), "full": x.size, "batch": shape[0], "none": 1}
    run = Run(loss(f"ignore_label: {IGNORED} {param}"), x, targets)
    assert run.out == pytest.approx(expected(x, targets, divisors[DIVISORS[param]]), rel=1e-5)


@pytest.mark.parametrize("param", DIVISORS)
def test_gradient(param):
    check_gradients(loss(f"ignore_label: {IGNORED} {param}"), [(2, 3, 4), targets_for(2, 3, 4)])
    check_gradients(loss(param), [(2, 3, 4), np.abs(targets_for(2, 12))])


def test_large_scores_do_not_overflow():
    run = Run(loss("normalization: NONE"), [[1000, -1000, 1000]], [[0, 1, 1]])
    assert run.out == 2000
    np.testing.assert_array_equal(run.backward(1)[0], [[1, -1, 0]])


def test_targets_are_cut_to_find_the_ignored_ones():
    # Caffe compares the integer part, so that 0.5 is ignored along with 0.
    run = Run(loss("ignore_label: 0 normalization: NONE"), [[3.0, 3.0]], [[0.5, 1.0]])
    assert run.out == pytest.approx(math.log1p(math.exp(-3)), rel=1e-5)


def test_counts_must_agree():
    with pytest.raises(ShapeError, match="their counts, 6 and 4, must be equal"):
        Run(loss(), normal(2, 3), normal(2, 2))


def test_targets_have_no_gradient():
    run = Run(loss(), normal(2, 3), np.zeros((2, 3)))
    with pytest.raises(PrototxtError, match="cannot compute a gradient for bottom 1"):
        run.backward(1, propagate=[True, True])


@pytest.mark.parametrize(
    "case",
    golden_cases.cases("layer", types=("SigmoidCrossEntropyLoss",)),
    ids=golden_cases.case_id,
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
