"""Launches the losses of ``label_losses.cu``: of scores or probabilities, and class labels."""

from __future__ import annotations

from typing import NamedTuple

from caffe_spn.cuda import softmax
from caffe_spn.cuda.arguments import check
from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.losses import Outcome, finish, ignoring, partials
from caffe_spn.cuda.runtime import THREADS, blocks, runtime
from caffe_spn.errors import ShapeError

SOURCE = "label_losses.cu"
# Classes that a row of blocks takes, as in the kernels; and the most rows of blocks.
CHUNK = 16
MOST_ROWS = 65535


class Labels(NamedTuple):
    """Labels of the positions of an array (outer, classes, inner).

    Attributes
    ----------
    array : DeviceArray
        outer * inner elements; fractions are cut off.
    classes, inner : int
    ignored : int or None
        A label whose positions do not count.
    """

    array: DeviceArray
    classes: int
    inner: int = 1
    ignored: int | None = None

    @property
    def positions(self) -> int:
        return self.array.size

    def arguments(self) -> tuple:
        """The kernels' LABELS."""
        return self.array, self.classes, *ignoring(self.ignored)

    def check(self, kernel: str, **arrays: DeviceArray) -> None:
        """Refuse arrays with other than `classes` elements for each position."""
        check(kernel, labels=self.array)
        check(kernel, self.positions * self.classes, **arrays)
        if self.positions % max(1, self.inner):
            raise ShapeError(
                f"{kernel}: {self.positions} labels are not rows of {self.inner} positions each"
            )


def label_forward(name: str, scores: DeviceArray, labels: Labels, outcome: Outcome, *more) -> None:
    """A loss of scores and labels.

    Parameters
    ----------
    name : {"multinomial", "hinge", "infogain"}
    scores : DeviceArray (outer, classes, inner)
    labels : Labels
    outcome : Outcome
    *more
        hinge: whether margins are squared. infogain: the matrix (classes, classes).
    """
    kernel = f"{name}_forward"
    labels.check(kernel, scores=scores)
    _check_matrix(kernel, labels, *more)
    count = labels.positions
    arguments = (scores, *labels.arguments(), count, labels.inner, *more)
    finish(partials(SOURCE, kernel, count, *arguments), outcome, labels.array)


def softmax_loss_forward(
    scores: DeviceArray, prob: DeviceArray, labels: Labels, outcome: Outcome
) -> None:
    """prob = the softmax of `scores`, and its loss, in one pass over them.

    Parameters
    ----------
    scores, prob : DeviceArray (outer, classes, inner)
    labels : Labels
    outcome : Outcome
    """
    kernel, count, block = "softmax_loss_forward", labels.positions, THREADS
    labels.check(kernel, scores=scores, prob=prob)
    arguments = (scores, *labels.arguments(), count)
    if softmax.in_rows(labels.classes, labels.inner):
        kernel, block = "softmax_loss_rows_forward", softmax.row_threads(labels.classes)
        count *= THREADS  # of which there are as many as blocks, then
    else:
        arguments += (labels.inner,)
    tallies = partials(SOURCE, kernel, count, *arguments, prob, block=block)
    finish(tallies, outcome, labels.array)


def label_backward(
    name: str,
    scores: DeviceArray,
    labels: Labels,
    loss_diff: DeviceArray,
    summary: DeviceArray,
    diff: DeviceArray,
    *more,
) -> None:
    """diff = the derivative of `label_forward`'s loss by the scores, times `loss_diff`.

    For "softmax_loss" `scores` are the probabilities, and the derivative is by what the softmax was
    of. `more` is as forward; for infogain the sums of the matrix's rows follow.
    """
    kernel = f"{name}_backward"
    labels.check(kernel, scores=scores, diff=diff)
    _check_matrix(kernel, labels, *more)
    if not diff.size:
        return
    grid = blocks(labels.positions), min(-(-labels.classes // CHUNK), MOST_ROWS)
    arguments = (scores, *labels.arguments(), labels.positions, labels.inner, *more)
    runtime().launch(SOURCE, kernel, grid, THREADS, *arguments, loss_diff, summary, diff)


def _check_matrix(kernel: str, labels: Labels, *more) -> None:
    for array, axes in zip(more, (2, 1), strict=False):
        if isinstance(array, DeviceArray):
            check(kernel, labels.classes**axes, **{"matrix" if axes == 2 else "row_sums": array})
