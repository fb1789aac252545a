"""MultinomialLogisticLoss: cross-entropy of given probabilities and integer labels.

    loss = -1 / N * sum of log p[label]

Source: `MultinomialLogisticLossLayer` of BVLC Caffe.
"""

import numpy as np

from caffe_spn.layer import register
from caffe_spn.layers.loss import LOG_THRESHOLD, ExampleLoss
from caffe_spn.layers.loss_gpu import ExampleLossOnGpu


@register("MultinomialLogisticLoss", bottoms=("probabilities", "labels"), tops=("loss",))
class MultinomialLogisticLoss(ExampleLossOnGpu, ExampleLoss):
    """loss = -1 / N * sum over examples of log p[label]

    For probabilities that come from elsewhere; where they come from a Softmax layer,
    SoftmaxWithLoss in place of both has the more accurate gradient.

    Bottoms, tops
    -------------
    probabilities : (N, ...)
        All elements of an example are its classes.
    labels : (N,), or N elements in another shape
        Integers from 0 to the number of classes less 1; fractions are cut off.
    loss : ()

    Raises
    ------
    ShapeError
        If the batch sizes differ or there is not one label for each example.
    DataError
        If a label is no class; on a GPU, when the host next reads from it.
    PrototxtError
        If a gradient of the labels is wanted.

    Notes
    -----
    As in Caffe, a probability below 1e-20 counts as 1e-20, in the logarithm and in its derivative.
    Like Caffe's, the layer reads no `loss_param`.

    Examples
    --------
    ::

        layer {
          name: "loss"
          type: "MultinomialLogisticLoss"
          bottom: "prob"
          bottom: "label"
          top: "loss"
        }
    """

    gpu_loss = "multinomial"

    def forward_cpu(self, bottom, top):
        self.read_at_label(bottom[1])
        self.chosen = np.maximum(bottom[0].data.reshape(self.dims)[self.at_label], LOG_THRESHOLD)
        top[0].data[...] = -np.log(self.chosen).sum(dtype=np.float64) / max(1, self.dims[0])

    def backward_cpu(self, top, propagate_down, bottom):
        self.refuse_label_gradient(propagate_down)
        if propagate_down[0]:
            diff = bottom[0].diff.reshape(self.dims)
            diff.fill(0)
            diff[self.at_label] = -float(top[0].diff) / max(1, self.dims[0]) / self.chosen
