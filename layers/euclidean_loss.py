"""EuclideanLoss: half the mean squared distance.

    loss = 1 / (2 N) * sum of (a - b) ** 2

Source: `EuclideanLossLayer` of BVLC Caffe.
"""

import math

import numpy as np

from caffe_spn.layer import register
from caffe_spn.layers.loss import LossLayer
from caffe_spn.layers.loss_gpu import LossOnGpu


@register("EuclideanLoss", bottoms=("a", "b"), tops=("loss",))
class EuclideanLoss(LossOnGpu, LossLayer):
    """The sum of squared differences over twice the batch size.

    Bottoms
    -------
    a, b : (N, ...)
        As many elements each; both get a gradient where one is wanted.

    Tops
    ----
    loss : ()

    Raises
    ------
    ShapeError
        If the batch sizes or the counts differ.

    Notes
    -----
    Like Caffe's, the layer reads no `loss_param`.

    Examples
    --------
    ::

        layer {
          name: "loss" type: "EuclideanLoss" bottom: "prediction" bottom: "target" top: "loss"
        }
    """

    no_backward_bottoms = ()

    def reshape(self, bottom, top):
        super().reshape(bottom, top)
        a, b = (blob.shape for blob in bottom)
        if math.prod(a[1:]) != math.prod(b[1:]):
            raise self.shape_error(
                f"bottom 0 is {a} and bottom 1 is {b}; an example of them has"
                f" {math.prod(a[1:])} and {math.prod(b[1:])} elements, which must be equal",
                help="check num_output of the layer below",
            )

    def forward_cpu(self, bottom, top):
        difference = self.workspace("difference", bottom[0].shape)
        np.subtract(bottom[0].data, bottom[1].data.reshape(difference.shape), out=difference)
        squares = np.square(difference, out=self.workspace("squares", difference.shape))
        top[0].data[...] = squares.sum(dtype=np.float64) / (2 * max(1, len(difference)))

    def backward_cpu(self, top, propagate_down, bottom):
        difference = self.workspace("difference", bottom[0].shape)
        weight = float(top[0].diff) / max(1, len(difference))
        for wanted, blob, sign in zip(propagate_down, bottom, (1, -1), strict=True):
            if wanted:
                np.multiply(difference, sign * weight, out=blob.diff.reshape(difference.shape))

    def forward_gpu(self, bottom, top):
        from caffe_spn.cuda import losses

        outcome = self.gpu_outcome(top, 2 * max(1, bottom[0].shape[0]))
        losses.euclidean_forward(bottom[0].gpu_data, bottom[1].gpu_data, outcome)

    def backward_gpu(self, top, propagate_down, bottom):
        if not any(propagate_down):
            return
        from caffe_spn.cuda import losses

        inputs = [blob.gpu_data for blob in bottom]
        diffs = [
            blob.new_gpu_diff if wanted else None
            for blob, wanted in zip(bottom, propagate_down, strict=True)
        ]
        losses.euclidean_backward(*inputs, top[0].gpu_diff, self.gpu_summary, *diffs)
