"""SigmoidCrossEntropyLoss: cross-entropy of sigmoid probabilities and targets from 0 to 1.

    loss = -sum of t log p + (1 - t) log(1 - p), p = sigmoid(x), / normalizer

Source: `SigmoidCrossEntropyLossLayer` of BVLC Caffe.
"""

import math

import numpy as np

from caffe_spn.layer import register
from caffe_spn.layers.loss import LossLayer, normalization_mode, normalizer
from caffe_spn.layers.loss_gpu import LossOnGpu, gpu_divisor
from caffe_spn.layers.sigmoid import sigmoid
from caffe_spn.proto.caffe_pb2 import LossParameter


def cross_entropy(x, target):
    """-t log p - (1 - t) log(1 - p) for p = sigmoid(x), without overflow for large x."""
    return np.log1p(np.exp(-np.abs(x))) - x * (target - (x >= 0))


@register("SigmoidCrossEntropyLoss", bottoms=("scores", "targets"), tops=("loss",))
class SigmoidCrossEntropyLoss(LossOnGpu, LossLayer):
    """The cross-entropy loss of independent yes-or-no predictions.

    Parameters
    ----------
    loss_param.ignore_label : int, optional
        Elements whose target, cut to an integer, is this number cost nothing and get no
        gradient.
    loss_param.normalization : FULL, VALID, BATCH_SIZE or NONE
        What the sum is divided by: all elements, those not ignored, the batch size, or 1.
        The default is BATCH_SIZE, not the VALID of caffe.proto.
    loss_param.normalize : bool
        The old form: true is VALID, false is BATCH_SIZE. `normalization` overrides it.

    Bottoms
    -------
    scores : (N, ...)
    targets : (N, ...), as many elements

    Tops
    ----
    loss : ()

    Raises
    ------
    ShapeError
        If the counts differ.

    Examples
    --------
    ::

        layer {
          name: "loss" type: "SigmoidCrossEntropyLoss"
          bottom: "scores" bottom: "targets" top: "loss"
          loss_param { normalization: FULL }
        }
    """

    def setup(self, bottom, top):
        param = self.layer_param.loss_param
        self.ignore_label = param.ignore_label if param.HasField("ignore_label") else None
        self.normalization = normalization_mode(param, LossParameter.BATCH_SIZE)

    def reshape(self, bottom, top):
        super().reshape(bottom, top)
        if bottom[0].count != bottom[1].count:
            raise self.shape_error(
                f"bottom 0 (scores) is {bottom[0].shape} and bottom 1 (targets) is"
                f" {bottom[1].shape}; their counts, {bottom[0].count} and {bottom[1].count},"
                " must be equal",
                help="there is one target for each score",
            )

    def forward_cpu(self, bottom, top):
        shape = bottom[0].shape
        target = bottom[1].data.reshape(shape)
        terms = cross_entropy(bottom[0].data, target)
        self.counted = None
        valid = terms.size
        if self.ignore_label is not None:
            self.counted = np.trunc(target) != self.ignore_label
            valid = int(np.count_nonzero(self.counted))
            terms = terms[self.counted]
        outer, inner = shape[0], math.prod(shape[1:])
        self.divisor = normalizer(self.normalization, outer, inner, valid)
        top[0].data[...] = terms.sum(dtype=np.float64) / self.divisor

    def backward_cpu(self, top, propagate_down, bottom):
        self.refuse_label_gradient(propagate_down)
        if not propagate_down[0]:
            return
        diff = bottom[0].diff
        sigmoid(bottom[0].data, diff)
        diff -= bottom[1].data.reshape(diff.shape)
        if self.counted is not None:
            diff *= self.counted
        diff *= float(top[0].diff) / self.divisor

    def forward_gpu(self, bottom, top):
        from caffe_spn.cuda import losses

        shape = bottom[0].shape
        divisor = gpu_divisor(self.normalization, shape[0], math.prod(shape[1:]))
        losses.sigmoid_cross_entropy_forward(
            bottom[0].gpu_data,
            bottom[1].gpu_data,
            self.ignore_label,
            self.gpu_outcome(top, divisor),
        )

    def backward_gpu(self, top, propagate_down, bottom):
        self.refuse_label_gradient(propagate_down)
        if not propagate_down[0]:
            return
        from caffe_spn.cuda import losses

        losses.sigmoid_cross_entropy_backward(
            bottom[0].gpu_data,
            bottom[1].gpu_data,
            self.ignore_label,
            top[0].gpu_diff,
            self.gpu_summary,
            bottom[0].new_gpu_diff,
        )
