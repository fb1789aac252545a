"""Launches ``eltwise.cu``: product, weighted sum or maximum of arrays of equal size.

A launch takes up to four arrays; more are taken by further launches, three at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from caffe_spn.cuda.arguments import check, vector_blocks
from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.runtime import THREADS, runtime

SOURCE = "eltwise.cu"
# Arrays that a launch combines.
GROUP = 4
# Arrays whose maximum can be taken: the owner's index is a byte.
MOST_OF_MAX = 256


def product(inputs: Sequence[DeviceArray], out: DeviceArray) -> None:
    """out = inputs[0] * inputs[1] * ...; `out` may be the first input."""
    count = _check("eltwise_product", inputs, out=out)
    for _, group in _groups(inputs, out):
        _launch("eltwise_product", count, *_padded(group), out)


def weighted_sum(inputs: Sequence[DeviceArray], weights: Sequence[float], out: DeviceArray) -> None:
    """out = weights[0] * inputs[0] + weights[1] * inputs[1] + ...

    `out` may be the first input.
    """
    count = _check("eltwise_sum", inputs, out=out)
    for start, group in _groups(inputs, out):
        new = [float(w) for w in weights[start : start + len(group)]]
        if start > 0:
            # Of the sum so far.
            new[0] = 1.0
        _launch("eltwise_sum", count, *_padded(group), *_padded(new, 0.0), out)


def maximum(inputs: Sequence[DeviceArray], out: DeviceArray, owner: DeviceArray) -> None:
    """out = the greatest, owner (uint8) = whose it is; `out` may be the first input.

    A tie of the first two goes to the second, others go to the earliest. NaN is the greatest.
    """
    count = _check("eltwise_max", inputs, out=out)
    check("eltwise_max", count, np.uint8, owner=owner)
    for start, group in _groups(inputs, out):
        _launch("eltwise_max", count, *_padded(group), start + 1, out, owner)


def product_backward(
    top_diff: DeviceArray,
    inputs: Sequence[DeviceArray],
    diffs: Sequence[DeviceArray | None],
) -> None:
    """diffs[i] = top_diff * the other inputs, where wanted; the first may be `top_diff`."""
    if len(inputs) > GROUP:
        for i in reversed(range(len(inputs))):
            if diffs[i] is not None:
                product([top_diff, *inputs[:i], *inputs[i + 1 :]], diffs[i])
        return
    wanted = [d for d in diffs if d is not None]
    count = _check("eltwise_product_backward", [*inputs, *wanted], top_diff=top_diff)
    _launch("eltwise_product_backward", count, top_diff, *_padded(inputs), *_padded(diffs))


def weighted_sum_backward(
    top_diff: DeviceArray, weights: Sequence[float], diffs: Sequence[DeviceArray | None]
) -> None:
    """diffs[i] = weights[i] * top_diff, where wanted; the first may be `top_diff`."""
    wanted = [d for d in diffs if d is not None]
    count = _check("eltwise_sum_backward", wanted, top_diff=top_diff)
    for start in _backwards(diffs):
        group = slice(start, start + GROUP)
        new = _padded([float(w) for w in weights[group]], 0.0)
        _launch("eltwise_sum_backward", count, top_diff, *new, *_padded(diffs[group]))


def maximum_backward(
    top_diff: DeviceArray, owner: DeviceArray, diffs: Sequence[DeviceArray | None]
) -> None:
    """diffs[i] = top_diff where i is the owner, else 0; the first may be `top_diff`."""
    wanted = [d for d in diffs if d is not None]
    count = _check("eltwise_max_backward", wanted, top_diff=top_diff)
    check("eltwise_max_backward", count, np.uint8, owner=owner)
    for start in _backwards(diffs):
        group = _padded(diffs[start : start + GROUP])
        _launch("eltwise_max_backward", count, top_diff, owner, start, *group)


def quotient_backward(
    top: DeviceArray, bottom: DeviceArray, top_diff: DeviceArray, bottom_diff: DeviceArray
) -> None:
    """bottom_diff = top / bottom * top_diff; `bottom_diff` may be `top_diff`."""
    count = _check("eltwise_quotient", [top, bottom], top_diff=top_diff, bottom_diff=bottom_diff)
    _launch("eltwise_quotient", count, top, bottom, top_diff, bottom_diff)


def _groups(inputs, out) -> Iterator[tuple[int, list]]:
    """What each launch combines, and which input's place its first array has."""
    yield 0, list(inputs[:GROUP])
    for start in range(GROUP - 1, len(inputs) - 1, GROUP - 1):
        yield start, [out, *inputs[start + 1 : start + GROUP]]


def _backwards(diffs) -> Iterator[int]:
    # The last first: in place, diff 0 is the top's.
    starts = range(0, len(diffs), GROUP)
    return (i for i in reversed(starts) if any(d is not None for d in diffs[i : i + GROUP]))


def _padded(values: Sequence, filling=None) -> list:
    return [*values, *[filling] * (GROUP - len(values))]


def _check(kernel: str, inputs, **arrays: DeviceArray) -> int:
    return check(kernel, **arrays, **{f"array {i}": x for i, x in enumerate(inputs)})


def _launch(kernel: str, count: int, *arguments) -> None:
    if count:
        runtime().launch(SOURCE, kernel, vector_blocks(count), THREADS, *arguments, count)
