"""What the solvers do with gradients: plain functions on float32 arrays, in place.

`data`, `diff` and the histories of one parameter are flat arrays of equal length. A rule turns the
gradient in `diff` into the step that is subtracted from `data`, and leaves the step in `diff`, as
Caffe does. `scratch` is any array of at least twice that length; nothing else is allocated.

Source: `SGDSolver::ClipGradients`, `Normalize`, `Regularize` and the `ComputeUpdateValue` of the
six solvers of BVLC Caffe, operation by operation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def gradient_norm(diffs: Sequence[np.ndarray]) -> float:
    """The L2 norm of all gradients taken as one vector."""
    return math.sqrt(sum(float(np.dot(diff, diff)) for diff in diffs))


def clip_scale(norm: float, limit: float) -> float:
    """What gradients of that norm are multiplied by; a negative limit clips nothing."""
    return limit / norm if norm > limit >= 0 else 1.0


def regularize(diff, data, decay: float, regularization_type: str, scratch) -> None:
    """diff += decay W (L2), or diff += decay sign(W) (L1)."""
    term = scratch[: data.size]
    if regularization_type == "L1":
        np.sign(data, out=term)
        term *= decay
    else:
        np.multiply(data, decay, out=term)
    diff += term


def sgd(diff, history, rate: float, momentum: float, scratch) -> None:
    """V = momentum V + rate G; the step is V."""
    history *= momentum
    diff *= rate
    history += diff
    diff[...] = history


def nesterov(diff, history, rate: float, momentum: float, scratch) -> None:
    """V' = momentum V + rate G; the step is (1 + momentum) V' - momentum V.

    References
    ----------
    Sutskever et al., On the importance of initialization and momentum in deep learning, 2013.
    """
    before = scratch[: diff.size]
    np.multiply(history, -momentum, out=before)
    history *= momentum
    diff *= rate
    history += diff
    np.multiply(history, 1 + momentum, out=diff)
    diff += before


def adagrad(diff, history, rate: float, delta: float, scratch) -> None:
    """H += G^2; the step is rate G / (sqrt(H) + delta).

    References
    ----------
    Duchi et al., Adaptive subgradient methods, 2011.
    """
    term = scratch[: diff.size]
    np.multiply(diff, diff, out=term)
    history += term
    _divide_by_root(diff, history, delta, term)
    diff *= rate


def rmsprop(diff, history, rate: float, decay: float, delta: float, scratch) -> None:
    """H = decay H + (1 - decay) G^2; the step is rate G / (sqrt(H) + delta).

    References
    ----------
    Tieleman and Hinton, RMSProp, COURSERA lecture 6.5, 2012.
    """
    term = scratch[: diff.size]
    _average_square(history, diff, decay, term)
    _divide_by_root(diff, history, delta, term)
    diff *= rate


def adadelta(diff, history, steps, rate: float, momentum: float, delta: float, scratch) -> None:
    """U = G sqrt((S + delta) / (H + delta)), with running means H of G^2 and S of U^2.

    H is updated before U, S after it; the step is rate U.

    References
    ----------
    Zeiler, ADADELTA: an adaptive learning rate method, 2012.
    """
    term = scratch[: diff.size]
    ratio = scratch[diff.size : 2 * diff.size]
    _average_square(history, diff, momentum, term)
    np.add(history, delta, out=term)
    np.add(steps, delta, out=ratio)
    ratio /= term
    np.sqrt(ratio, out=ratio)
    diff *= ratio
    _average_square(steps, diff, momentum, term)
    diff *= rate


def adam(
    diff, mean, square, rate: float, beta1: float, beta2: float, delta: float, count: int, scratch
) -> None:
    """M and V are running means of G and G^2; the step is rate c M / (sqrt(V) + delta).

    c = sqrt(1 - beta2^count) / (1 - beta1^count) corrects the means' start at zero; `count` is the
    number of updates, this one included.

    References
    ----------
    Kingma and Ba, Adam: a method for stochastic optimization, 2015.
    """
    term = scratch[: diff.size]
    correction = math.sqrt(1 - beta2**count) / (1 - beta1**count)
    _average_square(square, diff, beta2, term)
    np.multiply(diff, 1 - beta1, out=diff)
    mean *= beta1
    mean += diff
    diff[...] = mean
    _divide_by_root(diff, square, delta, term)
    diff *= rate * correction


def _average_square(average, values, decay: float, scratch) -> None:
    """average = decay average + (1 - decay) values^2"""
    np.multiply(values, values, out=scratch)
    scratch *= 1 - decay
    average *= decay
    average += scratch


def _divide_by_root(diff, history, delta: float, scratch) -> None:
    """diff /= sqrt(history) + delta"""
    np.sqrt(history, out=scratch)
    scratch += delta
    diff /= scratch
