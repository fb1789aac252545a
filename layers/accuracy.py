"""Accuracy: the share of labels that are among the best predictions.

Source: `AccuracyLayer` of BVLC Caffe.
"""

import numpy as np

from caffe_spn.layer import Layer, register
from caffe_spn.layers.loss import check_label_count, read_labels
from caffe_spn.layers.loss_gpu import LabelsOnGpu
from caffe_spn.layers.softmax import around_axis


@register("Accuracy", bottoms=("scores", "labels"), tops=("accuracy", "per_class?"), in_place=False)
class Accuracy(LabelsOnGpu, Layer):
    """accuracy = the share of positions whose label is among the `top_k` best scores

    Parameters
    ----------
    top_k : int, default 1
        How many of the best classes may hold the label.
    axis : int, default 1
        The axis of the classes; may count from the back.
    ignore_label : int, optional
        Positions with this label do not count.

    Bottoms
    -------
    scores : (N, C, ...)
    labels : (N, ...) or (N, 1, ...)
        Integers from 0 to C - 1; one for each position.

    Tops
    ----
    accuracy : ()
        0 if no position counts.
    per_class : (C,), optional
        The same for the positions of each class; 0 for a class without any.

    Raises
    ------
    ShapeError
        If there is not one label for each position, or fewer classes than `top_k`.
    DataError
        If a label is no class and not ignored; on a GPU, when the host next reads from it.

    Notes
    -----
    A score equal to that of the label counts as better: a constant prediction is not accurate.
    So does NaN, which in Caffe makes every prediction accurate. There is no gradient.

    Examples
    --------
    ::

        layer {
          name: "accuracy" type: "Accuracy" bottom: "scores" bottom: "labels" top: "accuracy"
          accuracy_param { top_k: 5 ignore_label: 255 }
        }
    """

    no_backward_bottoms = (0, 1)
    ignore_remedy = "accuracy_param { ignore_label: ... }"

    def setup(self, bottom, top):
        param = self.layer_param.accuracy_param
        self.top_k = param.top_k
        self.ignore_label = param.ignore_label if param.HasField("ignore_label") else None

    def reshape(self, bottom, top):
        scores, labels = bottom
        axis = self.axis(scores, self.layer_param.accuracy_param.axis)
        self.dims = outer, classes, inner = around_axis(scores.shape, axis)
        check_label_count(self, scores, labels, axis, outer * inner)
        if self.top_k > classes:
            raise self.shape_error(
                f"has top_k {self.top_k}, but bottom 0 (scores) {scores.shape} has {classes}"
                f" classes along axis {axis}",
                help="reduce top_k",
            )
        top[0].reshape()
        if len(top) == 2:
            top[1].reshape(classes)

    def forward_cpu(self, bottom, top):
        outer, classes, inner = self.dims
        labels, counted = read_labels(
            self, bottom[1], classes, self.ignore_label, self.ignore_remedy
        )
        labels = labels.reshape(outer, 1, inner)
        counted = np.full(labels.shape, True) if counted is None else counted.reshape(labels.shape)
        scores = bottom[0].data.reshape(self.dims)
        chosen = np.take_along_axis(scores, np.where(counted, labels, 0), axis=1)
        better = np.count_nonzero(~(scores < chosen), axis=1)[:, None] - 1
        right = (better < self.top_k) & counted
        total = np.count_nonzero(counted)
        top[0].data[...] = np.count_nonzero(right) / max(1, total)
        if len(top) == 2:
            per_class = np.bincount(labels[right], minlength=classes)
            top[1].data[...] = per_class / np.maximum(
                1, np.bincount(labels[counted], minlength=classes)
            )

    def backward_cpu(self, top, propagate_down, bottom):
        if any(propagate_down):
            raise self.param_error(
                "has no gradient; it measures, and cannot be a loss",
                help="leave out its loss_weight; train with SoftmaxWithLoss",
            )

    def forward_gpu(self, bottom, top):
        from caffe_spn.cuda.accuracy import accuracy

        _, classes, inner = self.dims
        per_class = counts = None
        if len(top) == 2:
            per_class = top[1].new_gpu_data
            counts = self.gpu_workspace("counts", (2 * classes,), np.int32)
        labels = self.gpu_labels(bottom[1], classes, inner)
        outcome = self.gpu_outcome(top, 0)
        accuracy(bottom[0].gpu_data, labels, self.top_k, outcome, counts, per_class)
        self.watch_labels(bottom[1], classes)

    def backward_gpu(self, top, propagate_down, bottom):
        self.backward_cpu(top, propagate_down, bottom)  # refuses
