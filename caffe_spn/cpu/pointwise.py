"""What the commonest layers do to each element on its own, on all threads.

Such work waits for memory: what counts is that each array is read and written once, and that
more than one core asks for it. Small arrays are left to NumPy, which starts faster.
"""

from __future__ import annotations

import numpy as np

from caffe_spn import cpu

# Fewer elements than this stay on one thread.
SMALL = 65536


def rectify(x, slope: float, y) -> None:
    """y = x where x > 0 (or NaN), slope * x elsewhere; `y` may be `x`."""
    if _compiled_suits(x, y):
        _run_compiled("rectify", x, y, slope)
    elif slope == 0:
        np.maximum(x, 0, out=y)
    else:
        negative = np.minimum(x, 0) * x.dtype.type(slope)
        np.maximum(x, 0, out=y)
        y += negative


def rectify_backward(x, y_diff, slope: float, x_diff) -> None:
    """x_diff = y_diff where x > 0, slope * y_diff elsewhere; `x_diff` may be `y_diff`."""
    if _compiled_suits(x, y_diff, x_diff):
        _run_compiled("rectify_backward", x, y_diff, x_diff, slope)
        return
    # Arithmetic with the mask: a masked copy (np.where, np.copyto) takes five times as long.
    factor = (x > 0) * x.dtype.type(1 - slope)
    factor += x.dtype.type(slope)
    np.multiply(y_diff, factor, out=x_diff)


def rectify_channels(x, slopes, y) -> None:
    """`rectify` of x (N, C, positions) with a slope for each channel; `y` may be `x`."""
    if _compiled_suits(x, slopes, y):
        _run_channels("rectify_channels", x, slopes, y)
        return
    negative = np.minimum(x, 0) * slopes[:, None]
    np.maximum(x, 0, out=y)
    y += negative


def rectify_channels_backward(x, y_diff, slopes, x_diff) -> None:
    """`rectify_backward` with a slope for each channel; `x_diff` may be `y_diff`."""
    if _compiled_suits(x, y_diff, slopes, x_diff):
        _run_channels("rectify_channels_backward", x, y_diff, slopes, x_diff)
        return
    factor = (x > 0) * (1 - slopes[:, None])
    factor += slopes[:, None]
    np.multiply(y_diff, factor, out=x_diff)


def elu(x, alpha: float, y) -> None:
    """y = x where x > 0, alpha * (exp(x) - 1) elsewhere; `y` may be `x`."""
    if _compiled_suits(x, y):
        _run_compiled("elu", x, y, alpha)
        return
    negative = np.exp(np.minimum(x, 0))
    negative -= 1
    if alpha != 1:
        negative *= x.dtype.type(alpha)
    np.maximum(x, 0, out=y)
    y += negative


def elu_backward(x, y, y_diff, alpha: float, x_diff) -> None:
    """x_diff = y_diff where x > 0, (alpha + y) * y_diff elsewhere; `x_diff` may be `y_diff`."""
    if _compiled_suits(x, y, y_diff, x_diff):
        _run_compiled("elu_backward", x, y, y_diff, x_diff, alpha)
        return
    one = x.dtype.type(1)
    np.multiply(y_diff, np.where(x > 0, one, y + x.dtype.type(alpha)), out=x_diff)


def sigmoid(x, y) -> None:
    """y = 1 / (1 + exp(-x)), without overflow; `y` may be `x`."""
    if _compiled_suits(x, y):
        _run_compiled("sigmoid", x, y)
        return
    # (tanh(x / 2) + 1) / 2
    np.multiply(x, 0.5, out=y)
    np.tanh(y, out=y)
    y *= 0.5
    y += 0.5


def sigmoid_backward(y, y_diff, x_diff) -> None:
    """x_diff = y_diff * y * (1 - y); `x_diff` may be `y_diff`."""
    if _compiled_suits(y, y_diff, x_diff):
        _run_compiled("sigmoid_backward", y, y_diff, x_diff)
        return
    slope = 1 - y
    slope *= y
    np.multiply(y_diff, slope, out=x_diff)


def tanh_backward(y, y_diff, x_diff) -> None:
    """x_diff = y_diff * (1 - y ** 2); `x_diff` may be `y_diff`."""
    if _compiled_suits(y, y_diff, x_diff):
        _run_compiled("tanh_backward", y, y_diff, x_diff)
        return
    slope = y * y
    np.subtract(1, slope, out=slope)
    np.multiply(y_diff, slope, out=x_diff)


def weighted_sum(a, weight_a: float, b, weight_b: float, out) -> None:
    """out = weight_a * a + weight_b * b; `out` may be one of them."""
    if _compiled_suits(a, b, out):
        _run_compiled("weighted_sum", a, b, out, weight_a, weight_b)
    elif weight_a == weight_b == 1:
        np.add(a, b, out=out)
    else:
        other = b * b.dtype.type(weight_b)
        np.multiply(a, a.dtype.type(weight_a), out=out)
        out += other


def larger_of_two(a, b, out, winner) -> None:
    """out = the larger of a and b, winner = 1 where b is at least a, else 0; `out` may be `a`."""
    if _compiled_suits(a, b, out) and winner.dtype == np.uint8:
        _run_compiled("larger_of_two", a, b, out, winner)
        return
    np.less_equal(a, b, out=winner, casting="unsafe")
    np.maximum(a, b, out=out)


def keep_larger(x, index: int, out, winner) -> None:
    """out = x and winner = index where x is larger than out; `winner` holds smaller indices."""
    if _compiled_suits(x, out) and winner.dtype == np.uint8:
        _run_compiled("keep_larger", x, out, winner, np.uint8(index))
        return
    # The later winner has the larger index; a masked copy would take ten times as long.
    np.maximum(winner, (x > out) * winner.dtype.type(index), out=winner)
    np.maximum(out, x, out=out)


def select(winner, index: int, y_diff, x_diff) -> None:
    """x_diff = y_diff where winner is index, else 0; `x_diff` may be `y_diff`."""
    if _compiled_suits(y_diff, x_diff) and winner.dtype == np.uint8:
        _run_compiled("select", winner, y_diff, x_diff, np.uint8(index))
        return
    np.multiply(y_diff, winner == index, out=x_diff)


def _compiled_suits(*arrays) -> bool:
    return arrays[0].size >= SMALL and cpu.compiled_suits(*arrays)


def _run_compiled(name: str, *arguments) -> None:
    from caffe_spn.cpu import pointwise_compiled

    flat = [a.reshape(-1) if isinstance(a, np.ndarray) else a for a in arguments]
    single = [np.float32(a) if isinstance(a, (int, float)) else a for a in flat]
    with cpu.parallel_section():
        getattr(pointwise_compiled, name)(*single)


def _run_channels(name: str, *arrays) -> None:
    from caffe_spn.cpu import pointwise_compiled

    with cpu.parallel_section():
        getattr(pointwise_compiled, name)(*arrays)
