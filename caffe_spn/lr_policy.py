"""Learning rates: the seven policies of Caffe, as functions of the iteration.

With b = base_lr, g = gamma, p = power, s = stepsize, t = the iteration:

=========  ==========================================================
fixed      b
step       b g^floor(t / s)
exp        b g^t
inv        b (1 + g t)^-p
multistep  b g^k, where k counts the `stepvalue`s that were reached
poly       b (1 - t / max_iter)^p
sigmoid    b / (1 + exp(-g (t - s)))
=========  ==========================================================

Source: `SGDSolver::GetLearningRate` of BVLC Caffe.
"""

from __future__ import annotations

import math

from caffe_spn.errors import PrototxtError, nearest

POLICIES = ("fixed", "step", "exp", "inv", "multistep", "poly", "sigmoid")
_NEED_GAMMA = ("step", "exp", "inv", "multistep", "sigmoid")
_NEED_STEPSIZE = ("step", "sigmoid")


def check(param) -> None:
    """Refuse a SolverParameter whose policy is unknown or lacks what it needs.

    Parameters
    ----------
    param : SolverParameter

    Raises
    ------
    PrototxtError
        Caffe finds the same at the first update; here it is found before any work is done.
    """
    policy = param.lr_policy
    if policy not in POLICIES:
        near = nearest(policy, POLICIES)
        raise PrototxtError(
            f"unknown learning rate policy '{policy}'" if policy else "lr_policy is not stated",
            help=f"did you mean '{near}'?" if near else f"one of: {', '.join(POLICIES)}",
        )
    if policy in _NEED_GAMMA and param.gamma < 0:
        raise PrototxtError(
            f"gamma is {param.gamma:g}; lr_policy '{policy}' needs gamma >= 0",
            help="gamma multiplies the learning rate: 0.1 makes it ten times smaller",
        )
    if policy in _NEED_STEPSIZE and param.stepsize <= 0:
        raise PrototxtError(
            f"stepsize is {param.stepsize}; lr_policy '{policy}' needs stepsize > 0",
            help="state after how many iterations the learning rate changes, e.g. stepsize: 1000",
        )
    # To the power 0, the default, the rate is constant whatever max_iter is.
    if policy == "poly" and param.power and param.max_iter <= 0:
        raise PrototxtError(
            f"max_iter is {param.max_iter}; lr_policy 'poly' needs max_iter > 0",
            help="poly goes to zero at max_iter, e.g. max_iter: 60000",
        )


def next_step(param, iteration: int, current_step: int) -> int:
    """How often the rate has dropped by `iteration`, for the policies that count it.

    Parameters
    ----------
    param : SolverParameter
    iteration : int
    current_step : int
        The count so far; a snapshot keeps it.

    Returns
    -------
    int
        At most one more than `current_step` under `multistep`, as in Caffe, which looks once an
        iteration.
    """
    if param.lr_policy == "step":
        return iteration // param.stepsize
    if param.lr_policy == "multistep":
        steps = param.stepvalue
        if current_step < len(steps) and iteration >= steps[current_step]:
            return current_step + 1
    return current_step


def learning_rate(param, iteration: int, current_step: int = 0) -> float:
    """The rate of one update.

    Parameters
    ----------
    param : SolverParameter
        One that `check` accepts.
    iteration : int
        How many updates there have been.
    current_step : int
        What `next_step` says; `step` and `multistep` use it.
    """
    base, gamma, power = param.base_lr, param.gamma, param.power
    policy = param.lr_policy
    if policy in ("step", "multistep"):
        return base * _power(gamma, current_step)
    if policy == "exp":
        return base * _power(gamma, iteration)
    if policy == "inv":
        return base * (1.0 + gamma * iteration) ** -power
    if policy == "poly" and power:
        # Past max_iter the base is negative: no real power. Caffe would go on with NaN.
        left = max(0.0, 1.0 - iteration / param.max_iter)
        return base * left**power if left or power > 0 else base
    if policy == "sigmoid":
        return base * _logistic(gamma * (iteration - param.stepsize))
    return base


def _power(base: float, exponent: float) -> float:
    # Python raises where C++ says infinity; training then ends with an error that says so.
    try:
        return base**exponent
    except OverflowError:
        return math.inf


def _logistic(x: float) -> float:
    # exp of a large argument overflows in Python, where C++ says infinity.
    return 1.0 / (1.0 + math.exp(-x)) if x > -700 else 0.0
