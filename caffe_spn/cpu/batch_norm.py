"""Batch normalisation over all axes but the channels, for arrays (N, C, positions).

    y = (x - mean) / sqrt(variance + eps)

Results may be written over the inputs.

Source: S. Ioffe and C. Szegedy, "Batch normalization", 2015, without the learned scale and shift
(Caffe has them in its Scale layer).
"""

from __future__ import annotations

import numpy as np

from caffe_spn import cpu


def forward(x, eps: float, y, saved, mean, variance) -> None:
    """Normalise by the statistics of x itself.

    Parameters
    ----------
    x : array (N, C, positions)
    eps : float
    y, saved : arrays like x
        Both receive the result; `backward` needs it even if something is computed in place on y.
    mean, variance : arrays (C,)
        Receive the statistics; the variance is divided by the count, not the count less one.
    """
    if cpu.compiled_suits(x, y, saved):
        from caffe_spn.cpu import batch_norm_compiled

        with cpu.parallel_section():
            batch_norm_compiled.forward(x, eps, y, saved, mean, variance)
        return
    mean[...] = x.mean(axis=(0, 2))
    np.subtract(x, mean[:, None], out=saved)
    variance[...] = (saved * saved).mean(axis=(0, 2))
    saved /= np.sqrt(variance + eps)[:, None]
    y[...] = saved


def normalize(x, mean, variance, eps: float, y) -> None:
    """Normalise by given statistics."""
    factor = inverse_deviation(variance, eps)
    if cpu.compiled_suits(x, y):
        from caffe_spn.cpu import batch_norm_compiled

        with cpu.parallel_section():
            batch_norm_compiled.normalize(x, mean, factor, y)
        return
    np.subtract(x, mean[:, None], out=y)
    y *= factor[:, None]


def backward(y_diff, saved, variance, eps: float, x_diff) -> None:
    """The derivative of `forward` by x; `saved` is the array that `forward` filled."""
    factor = inverse_deviation(variance, eps)
    if cpu.compiled_suits(y_diff, saved, x_diff):
        from caffe_spn.cpu import batch_norm_compiled

        with cpu.parallel_section():
            batch_norm_compiled.backward(y_diff, saved, factor, x_diff)
        return
    slope = (y_diff * saved).mean(axis=(0, 2))
    center = y_diff.mean(axis=(0, 2))
    x_diff[...] = (y_diff - center[:, None] - slope[:, None] * saved) * factor[:, None]


def inverse_deviation(variance, eps: float):
    """1 / sqrt(variance + eps), in the type of the variance."""
    return (1 / np.sqrt(variance.astype(np.float64) + eps)).astype(variance.dtype)
