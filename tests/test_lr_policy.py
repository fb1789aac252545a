"""Learning-rate policies against their formulas, and what is refused."""

import math

import numpy as np
import pytest

from caffe_spn import lr_policy
from caffe_spn.errors import PrototxtError
from caffe_spn.proto import caffe_pb2

EXPECTED = {
    "fixed": lambda t: 0.5,
    "step": lambda t: 0.5 * 0.25 ** (t // 4),
    "exp": lambda t: 0.5 * 0.25**t,
    "inv": lambda t: 0.5 / (1 + 0.25 * t) ** 0.75,
    "multistep": lambda t: 0.5 * 0.25 ** ((t >= 3) + (t >= 7)),
    "poly": lambda t: 0.5 * (1 - t / 20) ** 0.75,
    "sigmoid": lambda t: 0.5 / (1 + math.exp(-0.25 * (t - 4))),
}


def solver_param(policy, **fields):
    settings = dict(base_lr=0.5, gamma=0.25, power=0.75, stepsize=4, stepvalue=[3, 7], max_iter=20)
    settings.update(fields)
    return caffe_pb2.SolverParameter(lr_policy=policy, **settings)


@pytest.mark.parametrize("policy", EXPECTED)
def test_rates_follow_the_formula(policy):
    param, step = solver_param(policy), 0
    lr_policy.check(param)
    for iteration in range(12):
        step = lr_policy.next_step(param, iteration, step)
        rate = lr_policy.learning_rate(param, iteration, step)
        assert rate == pytest.approx(EXPECTED[policy](iteration), rel=1e-6)


def test_multistep_advances_once_an_iteration():
    param = solver_param("multistep")
    assert lr_policy.next_step(param, 100, 0) == 1
    assert lr_policy.next_step(param, 100, 1) == 2
    assert lr_policy.next_step(param, 100, 2) == 2


def test_poly_stays_at_zero_past_the_end():
    param = solver_param("poly")
    assert lr_policy.learning_rate(param, 20) == 0
    assert lr_policy.learning_rate(param, 25) == 0


def test_poly_with_power_zero_is_constant():
    assert lr_policy.learning_rate(solver_param("poly", power=0), 20) == 0.5
    endless = solver_param("poly", power=0, max_iter=0)
    lr_policy.check(endless)
    assert lr_policy.learning_rate(endless, 3) == 0.5


def test_sigmoid_far_before_its_middle_does_not_overflow():
    param = solver_param("sigmoid", gamma=1, stepsize=100000)
    assert lr_policy.learning_rate(param, 0) == 0
    assert np.isfinite(lr_policy.learning_rate(param, 200000))


def test_exp_that_grows_without_end_is_infinite():
    assert lr_policy.learning_rate(solver_param("exp", gamma=2), 100000) == math.inf


@pytest.mark.parametrize(
    ("policy", "fields", "message"),
    [
        ("", {}, "lr_policy is not stated"),
        ("Stepp", {}, "unknown learning rate policy 'Stepp'"),
        ("step", {"stepsize": 0}, "stepsize is 0"),
        ("step", {"gamma": -0.1}, "gamma is -0.1"),
        ("sigmoid", {"stepsize": 0}, "stepsize is 0"),
        ("exp", {"gamma": -1}, "gamma is -1"),
        ("inv", {"gamma": -1}, "gamma is -1"),
        ("multistep", {"gamma": -1}, "gamma is -1"),
        ("poly", {"max_iter": 0}, "max_iter is 0"),
    ],
)
def test_refuses(policy, fields, message):
    with pytest.raises(PrototxtError, match=message) as error:
        lr_policy.check(solver_param(policy, **fields))
    assert error.value.help


def test_names_the_nearest_policy():
    with pytest.raises(PrototxtError, match="did you mean 'multistep'"):
        lr_policy.check(solver_param("multi_step"))
