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
    count, size = _sizes("mask", x, (marker,), y=y)
    _launch("mask_streams", count, x, marker, y, count, size)


def lstm_forward(
    gates: DeviceArray,
    marker: DeviceArray,
    c_prev: DeviceArray,
    c_in: DeviceArray,
    c: DeviceArray,
    tanh_c: DeviceArray,
    h: DeviceArray,
    next_marker: DeviceArray | None = None,
    h_in: DeviceArray | None = None,
) -> None:
    """c = f c_in + i g;  h = o tanh(c);  with c_in = marker c_prev.

    Parameters
    ----------
    gates : DeviceArray (streams, 4 size)
        The gate inputs; become i, f, o and g, which the backward pass needs.
    marker : DeviceArray (streams,)
    c_prev, c_in, c, tanh_c, h : DeviceArray (streams, size)
        All but the first are written.
    next_marker, h_in : DeviceArray (streams,), (streams, size), optional
        The markers of the step behind this one, and the state it gets, which is written.
    """
    arrays = {"c_in": c_in, "c": c, "tanh_c": tanh_c, "h": h, "h_in": h_in}
    count, size = _sizes("lstm_forward", c_prev, (marker, next_marker), **arrays)
    check("lstm_forward", 4 * count, gates=gates)
    states = c_prev, c_in, c, tanh_c, h
    _launch("lstm_forward", count, gates, marker, *states, next_marker, h_in, count, size)


def lstm_backward(
    gates: DeviceArray,
    marker: DeviceArray,
    c_in: DeviceArray,
    tanh_c: DeviceArray,
    top_diff: DeviceArray,
    next_marker: DeviceArray | None,
    h_diff: DeviceArray | None,
    c_diff: DeviceArray,
    gate_diff: DeviceArray,
) -> None:
    """The derivatives of `lstm_forward`, from the arrays that it filled.

    Parameters
    ----------
    top_diff, h_diff : DeviceArray (streams, size), h_diff optional
        The derivative by h is top_diff + next_marker h_diff.
    next_marker : DeviceArray (streams,), optional
        1 by default.
    c_diff : DeviceArray (streams, size)
        The derivative by c; becomes that by c_prev.
    gate_diff : DeviceArray (streams, 4 size)
        Receives the derivative by the gate inputs.
    """
    arrays = {"tanh_c": tanh_c, "top_diff": top_diff, "c_diff": c_diff, "h_diff": h_diff}
    count, size = _sizes("lstm_backward", c_in, (marker, next_marker), **arrays)
    check("lstm_backward", 4 * count, gates=gates, gate_diff=gate_diff)
    diffs = top_diff, next_marker, h_diff, c_diff, gate_diff
    _launch("lstm_backward", count, gates, marker, c_in, tanh_c, *diffs, count, size)


def rnn_forward(
    sums: DeviceArray,
    h: DeviceArray,
    next_marker: DeviceArray | None = None,
    h_in: DeviceArray | None = None,
) -> None:
    """h = tanh(sums), and h_in = next_marker h for the step behind, as in `lstm_forward`."""
    count, size = _sizes("rnn_forward", sums, (next_marker,), h=h, h_in=h_in)
    _launch("rnn_forward", count, sums, h, next_marker, h_in, count, size)


def rnn_backward(
    h: DeviceArray,
    top_diff: DeviceArray,
    next_marker: DeviceArray | None,
    h_diff: DeviceArray,
    sums_diff: DeviceArray,
) -> None:
    """sums_diff = (1 - h h) (top_diff + next_marker h_diff); next_marker is 1 by default."""
    arrays = {"top_diff": top_diff, "h_diff": h_diff, "sums_diff": sums_diff}
    count, size = _sizes("rnn_backward", h, (next_marker,), **arrays)
    _launch("rnn_backward", count, h, top_diff, next_marker, h_diff, sums_diff, count, size)


def _sizes(kernel: str, x: DeviceArray, markers, **arrays) -> tuple[int, int]:
    streams, size = x.shape
    for marker in markers:
        check(kernel, marker=marker)
        if marker is not None and marker.size != streams:
            raise ShapeError(f"{kernel}: {marker.size} markers for {streams} streams")
    return check(kernel, streams * size, x=x, **arrays), size


def _launch(kernel: str, count: int, *arguments) -> None:
    if count:
        runtime().launch(SOURCE, kernel, blocks(count), THREADS, *arguments)
