"""Softmax along the middle axis of arrays (outer, classes, inner).

The largest score is subtracted first, so that exp cannot overflow.
"""

from __future__ import annotations

import numpy as np

from caffe_spn import cpu

# Numbers that a thread's block of scores may have: they stay in the second-level cache.
BLOCK = 32768


def forward(x, y) -> None:
    """y = exp(x) / sum of exp(x) over the classes; `y` may be `x`."""
    if cpu.compiled_suits(x, y):
        _run_compiled("forward", x, y)
        return
    with np.errstate(over="ignore", invalid="ignore"):
        np.subtract(x, x.max(axis=1, keepdims=True), out=y)
    np.exp(y, out=y)
    y /= y.sum(axis=1, keepdims=True)


def backward(y, y_diff, x_diff) -> None:
    """x_diff = y * (y_diff - sum over the classes of y_diff * y); `x_diff` may be `y_diff`."""
    if cpu.compiled_suits(y, y_diff, x_diff):
        _run_compiled("backward", y, y_diff, x_diff)
        return
    np.subtract(y_diff, (y_diff * y).sum(axis=1, keepdims=True), out=x_diff)
    x_diff *= y


def _run_compiled(name: str, *arrays) -> None:
    from caffe_spn.cpu import softmax_compiled
    from caffe_spn.cpu.scratch import scratch

    _, classes, inner = arrays[0].shape
    with cpu.parallel_section():
        if inner == 1:
            kernel = getattr(softmax_compiled, f"rows_{name}")
            kernel(*(a.reshape(a.shape[:2]) for a in arrays))
        else:
            block = min(inner, max(64, BLOCK // classes))
            workspace = scratch("softmax", cpu.thread_count(), 2, block)
            getattr(softmax_compiled, name)(*arrays, workspace)
