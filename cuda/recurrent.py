"""Launches ``recurrent.cu``: the steps of recurrent layers, without their matrix products.

Arrays of a step are (streams, size); the gates of an LSTM (streams, 4 size).
"""

from __future__ import annotations

from caffe_spn.cuda.arguments import check
from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.runtime import THREADS, blocks, runtime
from caffe_spn.errors import ShapeError

SOURCE = "recurrent.cu"


def mask(x: DeviceArray, marker: DeviceArray, y: DeviceArray) -> None:
    """y = marker x; `y` may be `x`.

    Parameters
    ----------
    x, y : DeviceArray (streams, size)
    marker : DeviceArray (streams,)
    """
    count, size = _sizes("mask", x, marker, y=y)
    _launch("mask_streams", count, x, marker, y, count, size)


def lstm_forward(
    gates: DeviceArray,
    marker: DeviceArray,
    c_prev: DeviceArray,
    c_in: DeviceArray,
    c: DeviceArray,
    tanh_c: DeviceArray,
    h: DeviceArray,
) -> None:
    """c = f c_in + i g;  h = o tanh(c);  with c_in = marker c_prev.

    Parameters
    ----------
    gates : DeviceArray (streams, 4 size)
        The gate inputs; become i, f, o and g, which the backward pass needs.
    marker : DeviceArray (streams,)
    c_prev, c_in, c, tanh_c, h : DeviceArray (streams, size)
        All but the first are written.
    """
    count, size = _sizes("lstm_forward", c_prev, marker, c_in=c_in, c=c, tanh_c=tanh_c, h=h)
    check("lstm_forward", 4 * count, gates=gates)
    _launch("lstm_forward", count, gates, marker, c_prev, c_in, c, tanh_c, h, count, size)


def lstm_backward(
    gates: DeviceArray,
    marker: DeviceArray,
    c_in: DeviceArray,
    tanh_c: DeviceArray,
    top_diff: DeviceArray,
    h_diff: DeviceArray | None,
    c_diff: DeviceArray,
    gate_diff: DeviceArray,
) -> None:
    """The derivatives of `lstm_forward`, from the arrays that it filled.

    Parameters
    ----------
    top_diff, h_diff : DeviceArray (streams, size), h_diff optional
        The derivative by h is their sum.
    c_diff : DeviceArray (streams, size)
        The derivative by c; becomes that by c_prev.
    gate_diff : DeviceArray (streams, 4 size)
        Receives the derivative by the gate inputs.
    """
    arrays = {"tanh_c": tanh_c, "top_diff": top_diff, "c_diff": c_diff}
    arrays |= {} if h_diff is None else {"h_diff": h_diff}
    count, size = _sizes("lstm_backward", c_in, marker, **arrays)
    check("lstm_backward", 4 * count, gates=gates, gate_diff=gate_diff)
    arguments = (gates, marker, c_in, tanh_c, top_diff, h_diff, c_diff, gate_diff, count, size)
    _launch("lstm_backward", count, *arguments)


def tanh_backward(
    h: DeviceArray, top_diff: DeviceArray, h_diff: DeviceArray, sum_diff: DeviceArray
) -> None:
    """sum_diff = (1 - h h) (top_diff + h_diff), for h = tanh(sum)."""
    count = check("tanh_backward", h=h, top_diff=top_diff, h_diff=h_diff, sum_diff=sum_diff)
    _launch("tanh_backward_of_both", count, h, top_diff, h_diff, sum_diff, count)


def _sizes(kernel: str, x: DeviceArray, marker: DeviceArray, **arrays) -> tuple[int, int]:
    streams, size = x.shape
    check(kernel, marker=marker)
    if marker.size != streams:
        raise ShapeError(f"{kernel}: {marker.size} markers for {streams} streams")
    return check(kernel, streams * size, x=x, **arrays), size


def _launch(kernel: str, count: int, *arguments) -> None:
    if count:
        runtime().launch(SOURCE, kernel, blocks(count), THREADS, *arguments)
