"""The update rules against plain-loop Python, one number at a time, in float64."""

import math

import numpy as np
import pytest

from caffe_spn import update_rules

RATE, MOMENTUM, DELTA, DECAY = 0.1, 0.8, 0.01, 0.9
COUNT = 7


def loop(step, histories, gradients):
    """Run `step(g, h) -> (update, h)` on each number of each gradient by itself."""
    updates = []
    state = [[0.0] * histories for _ in range(COUNT)]
    for gradient in gradients:
        row = []
        for i, g in enumerate(gradient):
            update, state[i] = step(float(g), state[i], len(updates) + 1)
            row.append(update)
        updates.append(row)
    return np.array(updates)


def expected_sgd(g, h, count):
    v = MOMENTUM * h[0] + RATE * g
    return v, [v]


def expected_nesterov(g, h, count):
    v = MOMENTUM * h[0] + RATE * g
    return (1 + MOMENTUM) * v - MOMENTUM * h[0], [v]


def expected_adagrad(g, h, count):
    total = h[0] + g * g
    return RATE * g / (math.sqrt(total) + DELTA), [total]


def expected_rmsprop(g, h, count):
    mean = DECAY * h[0] + (1 - DECAY) * g * g
    return RATE * g / (math.sqrt(mean) + DELTA), [mean]


def expected_adadelta(g, h, count):
    mean = MOMENTUM * h[0] + (1 - MOMENTUM) * g * g
    step = g * math.sqrt((h[1] + DELTA) / (mean + DELTA))
    return RATE * step, [mean, MOMENTUM * h[1] + (1 - MOMENTUM) * step * step]


def expected_adam(g, h, count):
    m = MOMENTUM * h[0] + (1 - MOMENTUM) * g
    v = DECAY * h[1] + (1 - DECAY) * g * g
    unbiased = math.sqrt(1 - DECAY**count) / (1 - MOMENTUM**count)
    return RATE * unbiased * m / (math.sqrt(v) + DELTA), [m, v]


RULES = {
    "sgd": (1, expected_sgd, lambda d, h, n, s: update_rules.sgd(d, *h, RATE, MOMENTUM, s)),
    "nesterov": (
        1,
        expected_nesterov,
        lambda d, h, n, s: update_rules.nesterov(d, *h, RATE, MOMENTUM, s),
    ),
    "adagrad": (
        1,
        expected_adagrad,
        lambda d, h, n, s: update_rules.adagrad(d, *h, RATE, DELTA, s),
    ),
    "rmsprop": (
        1,
        expected_rmsprop,
        lambda d, h, n, s: update_rules.rmsprop(d, *h, RATE, DECAY, DELTA, s),
    ),
    "adadelta": (
        2,
        expected_adadelta,
        lambda d, h, n, s: update_rules.adadelta(d, *h, RATE, MOMENTUM, DELTA, s),
    ),
    "adam": (
        2,
        expected_adam,
        lambda d, h, n, s: update_rules.adam(d, *h, RATE, MOMENTUM, DECAY, DELTA, n, s),
    ),
}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rule(name, dtype):
    histories, expected, rule = RULES[name]
    gradients = np.random.default_rng(3).normal(size=(5, COUNT))
    want = loop(expected, histories, gradients)
    history = [np.zeros(COUNT, dtype) for _ in range(histories)]
    scratch = np.full(2 * COUNT, np.nan, dtype)
    for count, gradient in enumerate(gradients, 1):
        diff = gradient.astype(dtype)
        rule(diff, history, count, scratch)
        np.testing.assert_allclose(diff, want[count - 1], 1e-5 if dtype == np.float32 else 1e-12)
        assert diff.dtype == dtype


@pytest.mark.parametrize("regularization_type", ["L1", "L2"])
def test_regularize(regularization_type):
    data = np.array([2.0, -3.0, 0.0], np.float32)
    diff = np.ones(3, np.float32)
    update_rules.regularize(diff, data, 0.5, regularization_type, np.empty(6, np.float32))
    added = [1.0, -1.5, 0] if regularization_type == "L2" else [0.5, -0.5, 0]
    np.testing.assert_array_equal(diff, np.add(1, added).astype(np.float32))
    np.testing.assert_array_equal(data, [2, -3, 0])


def test_gradient_norm_spans_all_parameters():
    diffs = [np.array([3.0], np.float32), np.array([0.0, 4.0], np.float32)]
    assert update_rules.gradient_norm(diffs) == 5


@pytest.mark.parametrize(
    ("norm", "limit", "scale"), [(5, 2.5, 0.5), (5, 5, 1), (5, -1, 1), (5, 0, 0), (0, 0, 1)]
)
def test_clip_scale(norm, limit, scale):
    assert update_rules.clip_scale(norm, limit) == scale
