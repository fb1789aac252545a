"""Launches the losses of ``losses.cu``, and the last step of all losses.

A forward pass leaves on the device what the backward pass needs: `Outcome.summary`, four float64
numbers: the divisor, how many terms count, the first position whose label is no class (counted
from 1; 0 if there is none), and the label there. With such a label the loss is NaN, and nothing is
read out of bounds; the host finds out when it reads the summary.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from caffe_spn.cuda.arguments import check
from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.runtime import THREADS, blocks, runtime

SOURCE = "losses.cu"
SUMMARY = 4
# Bytes of a Tally.
TALLY = 16
WARP = 32


class Outcome(NamedTuple):
    """Where a forward pass puts its result, and what the sum of all terms is divided by.

    Attributes
    ----------
    loss : DeviceArray, one element
    summary : DeviceArray of float64, four elements
    divisor : float
        0: how many terms count, but at least 1.
    """

    loss: DeviceArray
    summary: DeviceArray
    divisor: float


def ignoring(label: int | None) -> tuple[bool, int]:
    """A label to ignore, or None, as the kernels' `ignores` and `ignored`."""
    return label is not None, 0 if label is None else label


def euclidean_forward(a: DeviceArray, b: DeviceArray, outcome: Outcome) -> None:
    """The sum of (a - b) ** 2; the divisor is twice the size of the batch."""
    count = check("euclidean_forward", a=a, b=b)
    finish(partials(SOURCE, "euclidean_forward", count, a, b, count), outcome)


def euclidean_backward(
    a: DeviceArray,
    b: DeviceArray,
    loss_diff: DeviceArray,
    summary: DeviceArray,
    a_diff: DeviceArray | None,
    b_diff: DeviceArray | None,
) -> None:
    """The derivatives by a and b; None for one that is not wanted."""
    count = check("euclidean_backward", a=a, b=b, a_diff=a_diff, b_diff=b_diff)
    _each(SOURCE, "euclidean_backward", count, a, b, count, loss_diff, summary, a_diff, b_diff)


def sigmoid_cross_entropy_forward(
    scores: DeviceArray, targets: DeviceArray, ignored: int | None, outcome: Outcome
) -> None:
    """The sum of -t log p - (1 - t) log(1 - p) with p = sigmoid(score)."""
    kernel = "sigmoid_cross_entropy_forward"
    count = check(kernel, scores=scores, targets=targets)
    arguments = (scores, targets, count, *ignoring(ignored))
    finish(partials(SOURCE, kernel, count, *arguments), outcome)


def sigmoid_cross_entropy_backward(
    scores: DeviceArray,
    targets: DeviceArray,
    ignored: int | None,
    loss_diff: DeviceArray,
    summary: DeviceArray,
    diff: DeviceArray,
) -> None:
    """diff = (sigmoid(score) - target), weighted, where the target counts."""
    kernel = "sigmoid_cross_entropy_backward"
    count = check(kernel, scores=scores, targets=targets, diff=diff)
    arguments = (scores, targets, count, *ignoring(ignored))
    _each(SOURCE, kernel, count, *arguments, loss_diff, summary, diff)


class Pairs(NamedTuple):
    """What the contrastive loss compares.

    Attributes
    ----------
    a, b : DeviceArray (N, C)
    similarity : DeviceArray (N,)
    margin : float
    legacy : bool
    """

    a: DeviceArray
    b: DeviceArray
    similarity: DeviceArray
    margin: float
    legacy: bool

    def arguments(self, kernel: str, **diffs: DeviceArray) -> tuple:
        count = check(kernel, a=self.a, b=self.b, **diffs)
        pairs = check(kernel, similarity=self.similarity)
        check(kernel, pairs * (count // max(1, pairs)), a=self.a)
        length = count // max(1, pairs)
        return self.a, self.b, self.similarity, pairs, length, float(self.margin), self.legacy


def contrastive_forward(pairs: Pairs, outcome: Outcome) -> None:
    """The sum of twice the loss of each pair; the divisor is twice the number of pairs."""
    kernel = "contrastive_forward"
    arguments = pairs.arguments(kernel)
    threads = pairs.similarity.size * WARP
    finish(partials(SOURCE, kernel, threads, *arguments, block=WARP), outcome)


def contrastive_backward(
    pairs: Pairs,
    loss_diff: DeviceArray,
    summary: DeviceArray,
    a_diff: DeviceArray | None,
    b_diff: DeviceArray | None,
) -> None:
    """The derivatives by a and b; None for one that is not wanted."""
    kernel = "contrastive_backward"
    arguments = pairs.arguments(kernel, a_diff=a_diff, b_diff=b_diff)
    count = pairs.similarity.size
    if count:
        grid = blocks(count * THREADS)
        runtime().launch(SOURCE, kernel, grid, WARP, *arguments, loss_diff, summary, a_diff, b_diff)


def _each(source: str, kernel: str, count: int, *arguments) -> None:
    if count:
        runtime().launch(source, kernel, blocks(count), THREADS, *arguments)


def partials(source, kernel, count: int, *arguments, block: int = THREADS, shared: int = 0):
    """Launch the first step of a sum of `count` terms; its tallies, and how many they are."""
    parts = blocks(count) if count else 0
    tallies = runtime().scratch(TALLY * max(1, parts))
    if parts:
        runtime().launch(source, kernel, parts, block, *arguments, tallies, shared=shared)
    return tallies, parts


def finish(tallies, outcome: Outcome, labels: DeviceArray | None = None) -> None:
    """Launch the last step: all tallies to one."""
    check("loss_finish", 1, loss=outcome.loss)
    check("loss_finish", SUMMARY, np.float64, summary=outcome.summary)
    divisor = np.float64(outcome.divisor)
    runtime().launch(
        SOURCE, "loss_finish", 1, THREADS, *tallies, divisor, labels, outcome.loss, outcome.summary
    )
