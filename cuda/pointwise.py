"""Launches the formulas of ``pointwise.cu``: each element on its own, forward and backward."""

from __future__ import annotations

from caffe_spn.cuda.arguments import check, vector_blocks
from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.runtime import THREADS, runtime

SOURCE = "pointwise.cu"


def forward(formula: str, x: DeviceArray, y: DeviceArray, *parameters: float) -> None:
    """y = the formula of x; `y` may be `x`.

    Parameters
    ----------
    formula : str
        A name that ``pointwise.cu`` has with FORWARD.
    x, y : DeviceArray
    *parameters : float
        Those of the formula, in its order.
    """
    count = check(f"{formula}_forward", x=x, y=y)
    _launch(f"{formula}_forward", count, x, y, parameters=parameters)


def backward(
    formula: str,
    x: DeviceArray,
    y: DeviceArray,
    y_diff: DeviceArray,
    x_diff: DeviceArray,
    *parameters: float,
) -> None:
    """x_diff = y_diff times the derivative of the formula; `x_diff` may be `y_diff`."""
    count = check(f"{formula}_backward", x=x, y=y, y_diff=y_diff, x_diff=x_diff)
    _launch(f"{formula}_backward", count, x, y, y_diff, x_diff, parameters=parameters)


def _launch(kernel: str, count: int, *arrays: DeviceArray, parameters) -> None:
    if count:
        values = [float(p) for p in parameters]
        runtime().launch(SOURCE, kernel, vector_blocks(count), THREADS, *arrays, count, *values)
