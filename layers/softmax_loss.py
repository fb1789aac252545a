"""SoftmaxWithLoss: cross-entropy of softmax probabilities and integer labels.

    loss = -sum over positions of log p[label] / normalizer

Source: `SoftmaxWithLossLayer` of BVLC Caffe.
"""

import numpy as np

from caffe_spn.blob import Blob
from caffe_spn.cpu import softmax
from caffe_spn.layer import register
from caffe_spn.layers.loss import (
    LossLayer,
    check_label_count,
    normalization_mode,
    normalizer,
    read_labels,
)
from caffe_spn.layers.loss_gpu import LabelsOnGpu, gpu_divisor
from caffe_spn.layers.softmax import around_axis
from caffe_spn.proto.caffe_pb2 import LossParameter

SMALLEST = float(np.finfo(np.float32).tiny)


def positions(dims):
    """Where class 0 of each position lies in a flat array of (outer, classes, inner)."""
    outer, classes, inner = dims
    return np.arange(outer)[:, None] * (classes * inner) + np.arange(inner)


@register("SoftmaxWithLoss", bottoms=("scores", "labels"), tops=("loss", "probabilities?"))
class SoftmaxWithLoss(LabelsOnGpu, LossLayer):
    """The multinomial logistic loss of the softmax of scores.

    Parameters
    ----------
    softmax_param.axis : int, default 1
        The axis of the classes.
    softmax_param.engine : accepted and ignored
        There is one implementation.
    loss_param.ignore_label : int, optional
        Positions with this label cost nothing and get no gradient.
    loss_param.normalization : FULL, VALID, BATCH_SIZE or NONE, default VALID
        What the sum is divided by: all positions, those not ignored, the size before the
        class axis, or 1.
    loss_param.normalize : bool
        The old form: true is VALID, false is BATCH_SIZE. `normalization` overrides it.

    Bottoms
    -------
    scores : (N, C, ...)
    labels : (N, ...) or (N, 1, ...)
        Integers from 0 to C - 1; one for each position.

    Tops
    ----
    loss : ()
    probabilities : shape of the scores, optional

    Raises
    ------
    ShapeError
        If there is not one label for each position.
    DataError
        If a label is no class and not ignored; on a GPU, when the host next reads from it.

    Notes
    -----
    As in Caffe, log takes at least the smallest normal float32 (1.2e-38), so that a probability
    of 0 costs 87.3 and not infinity.

    Examples
    --------
    ::

        layer {
          name: "loss" type: "SoftmaxWithLoss" bottom: "scores" bottom: "labels" top: "loss"
          loss_param { ignore_label: 255 normalization: BATCH_SIZE }
        }
    """

    ignore_remedy = "loss_param { ignore_label: ... }"

    def setup(self, bottom, top):
        param = self.layer_param.loss_param
        self.ignore_label = param.ignore_label if param.HasField("ignore_label") else None
        self.normalization = normalization_mode(param, LossParameter.VALID)
        self.prob = Blob((), self.dtype)
        self.dims = None

    def reshape(self, bottom, top):
        super().reshape(bottom, top)
        scores, labels = bottom
        axis = self.axis(scores, self.layer_param.softmax_param.axis)
        dims = outer, classes, inner = around_axis(scores.shape, axis)
        check_label_count(self, scores, labels, axis, outer * inner)
        if classes == 0:
            raise self.shape_error(f"bottom 0 (scores) is {scores.shape}: it has no classes")
        self.prob.reshape_like(scores)
        if dims != self.dims:
            self.dims, self.offsets = dims, positions(dims)
        if len(top) == 2:
            top[1].reshape_like(scores)
            top[1].share_data(self.prob)

    def forward_cpu(self, bottom, top):
        softmax.forward(bottom[0].data.reshape(self.dims), self.prob.data.reshape(self.dims))
        outer, classes, inner = self.dims
        labels, counted = read_labels(
            self, bottom[1], classes, self.ignore_label, self.ignore_remedy
        )
        self.at_label = self.offsets + labels.reshape(outer, inner).astype(np.int64) * inner
        self.counted = None if counted is None else counted.reshape(outer, inner)
        if counted is not None:
            self.at_label = self.at_label[self.counted]
        chosen = np.maximum(self.prob.data.reshape(-1)[self.at_label], SMALLEST)
        self.divisor = normalizer(self.normalization, outer, inner, self.at_label.size)
        top[0].data[...] = -np.log(chosen).sum(dtype=np.float64) / self.divisor

    def backward_cpu(self, top, propagate_down, bottom):
        self.refuse_label_gradient(propagate_down)
        if not propagate_down[0]:
            return
        weight = float(top[0].diff) / self.divisor
        prob, diff = self.prob.data, bottom[0].diff
        if self.counted is None:
            np.multiply(prob, weight, out=diff)
        else:
            weights = np.where(self.counted, prob.dtype.type(weight), prob.dtype.type(0))
            out = diff.reshape(self.dims)
            np.multiply(prob.reshape(self.dims), weights[:, None], out=out)
        diff.reshape(-1)[self.at_label] = (prob.reshape(-1)[self.at_label] - 1) * weight

    def forward_gpu(self, bottom, top):
        from caffe_spn.cuda import label_losses

        outer, classes, inner = self.dims
        scores, prob = bottom[0].gpu_data, self.prob.new_gpu_data
        labels = self.gpu_labels(bottom[1], classes, inner)
        outcome = self.gpu_outcome(top, gpu_divisor(self.normalization, outer, inner))
        label_losses.softmax_loss_forward(scores, prob, labels, outcome)
        self.watch_labels(bottom[1], classes)

    def backward_gpu(self, top, propagate_down, bottom):
        self.refuse_label_gradient(propagate_down)
        if not propagate_down[0]:
            return
        from caffe_spn.cuda import label_losses

        _, classes, inner = self.dims
        label_losses.label_backward(
            "softmax_loss",
            self.prob.gpu_data,
            self.gpu_labels(bottom[1], classes, inner),
            top[0].gpu_diff,
            self.gpu_summary,
            bottom[0].new_gpu_diff,
        )
