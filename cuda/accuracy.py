"""Launches ``accuracy.cu``: the share of labels that are among the best scores."""

from __future__ import annotations

import numpy as np

from caffe_spn.cuda.arguments import check
from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.label_losses import Labels
from caffe_spn.cuda.losses import Outcome, finish, partials
from caffe_spn.cuda.runtime import THREADS, blocks, runtime

SOURCE = "accuracy.cu"
# The most shared memory that a block takes for its counts, and the bytes of one.
MOST_SHARED = 32 << 10
COUNT = 4


def accuracy(
    scores: DeviceArray,
    labels: Labels,
    top_k: int,
    outcome: Outcome,
    counts: DeviceArray | None = None,
    per_class: DeviceArray | None = None,
) -> None:
    """The share of positions whose label is among the `top_k` best.

    Parameters
    ----------
    scores : DeviceArray (outer, classes, inner)
    labels : Labels
    top_k : int
    outcome : Outcome
        Its divisor should be 0: as many as count.
    counts : DeviceArray of int32 (2 classes,), optional
        Work space for `per_class`.
    per_class : DeviceArray (classes,), optional
        Receives the same for the positions of each class; 0 for a class without any.
    """
    labels.check("accuracy", scores=scores)
    classes, shared = labels.classes, 0
    if per_class is not None:
        check("accuracy", classes, per_class=per_class)
        check("accuracy", 2 * classes, np.int32, counts=counts)
        runtime().zero(counts)
        shared = 2 * classes * COUNT
        shared = shared if shared <= MOST_SHARED else 0
    arguments = (scores, *labels.arguments(), labels.positions, labels.inner, top_k)
    arguments += (None if per_class is None else counts, shared > 0)
    sums = partials(SOURCE, "accuracy", labels.positions, *arguments, shared=shared)
    finish(sums, outcome, labels.array)
    if per_class is not None:
        launch = (SOURCE, "accuracy_per_class", blocks(classes), THREADS)
        runtime().launch(*launch, counts, classes, per_class)
