"""ContrastiveLoss: draw equal pairs together and push different ones apart.

    loss = 1 / (2 N) * sum of (similar ? d^2 : max(margin - d, 0)^2),  d = |a - b|

Source: `ContrastiveLossLayer` of BVLC Caffe; R. Hadsell, S. Chopra and Y. LeCun, "Dimensionality
reduction by learning an invariant mapping", 2006, equation 4.
"""

import math

import numpy as np

from caffe_spn.layer import register
from caffe_spn.layers.loss import LossLayer
from caffe_spn.layers.loss_gpu import LossOnGpu

# Caffe adds this to a distance before it divides by it.
SMALLEST_DISTANCE = 1e-4


def pair_losses(squared, similar, margin: float, legacy: bool):
    """Twice the loss of each pair, of its squared distance."""
    if legacy:
        apart = np.maximum(margin - squared, 0)
    else:
        apart = np.square(np.maximum(margin - np.sqrt(squared), 0))
    return np.where(similar, squared, apart)


def pair_slopes(squared, similar, margin: float, legacy: bool):
    """What a - b is multiplied by in each pair's derivative."""
    if legacy:
        apart = np.where(margin - squared > 0, -1, 0)
    else:
        distance = np.sqrt(squared)
        apart = -np.maximum(margin - distance, 0) / (distance + SMALLEST_DISTANCE)
    return np.where(similar, 1, apart)


@register("ContrastiveLoss", bottoms=("a", "b", "similarity"), tops=("loss",))
class ContrastiveLoss(LossOnGpu, LossLayer):
    """loss = 1 / (2 N) * sum of d^2 for similar pairs, max(margin - d, 0)^2 for others; d = |a - b|

    Parameters
    ----------
    margin : float, default 1
        Different pairs that are farther apart than this cost nothing.
    legacy_version : bool, default False
        Of a different pair, take max(margin - d^2, 0), as Caffe did in its first version and the
        paper does not.

    Bottoms, tops
    -------------
    a, b : (N, C) or (N, C, 1, 1)
        The features of the two sides; both get a gradient where one is wanted.
    similarity : (N,), or N elements in another shape
        0 for a different pair, anything else for a similar one; fractions are cut off.
    loss : ()

    Raises
    ------
    ShapeError
        If the batch sizes or the channels differ, the features have a height or width, or there
        is not one number in `similarity` for each pair.
    PrototxtError
        If a gradient of `similarity` is wanted.

    Notes
    -----
    As in Caffe, the derivative of different pairs has d + 0.0001 where it should have d, which
    keeps it finite where a = b.

    Examples
    --------
    ::

        layer {
          name: "loss"
          type: "ContrastiveLoss"
          bottom: "left"
          bottom: "right"
          bottom: "similarity"
          top: "loss"
          contrastive_loss_param { margin: 1 }
        }
    """

    no_backward_bottoms = (2,)

    def setup(self, bottom, top):
        param = self.layer_param.contrastive_loss_param
        self.margin, self.legacy = param.margin, param.legacy_version

    def reshape(self, bottom, top):
        super().reshape(bottom, top)
        for i, blob in enumerate(bottom[:2]):
            if math.prod(blob.shape[2:]) != 1 or len(blob.shape) > 4:
                raise self.shape_error(
                    f"bottom {i} is {blob.shape}; features are (N, C) or (N, C, 1, 1)",
                    help="pool globally, or put an InnerProduct layer before the loss",
                )
        a, b = (blob.shape for blob in bottom[:2])
        if a[1:2] != b[1:2]:
            raise self.shape_error(
                f"bottom 0 is {a} and bottom 1 is {b}; they must have equally many channels",
                help="check num_output of the layers below",
            )
        self.check_labels(bottom[2], a[0])
        self.dims = (a[0], bottom[0].count // max(1, a[0]))

    def forward_cpu(self, bottom, top):
        difference = self.workspace("difference", self.dims)
        a, b = (blob.data.reshape(self.dims) for blob in bottom[:2])
        np.subtract(a, b, out=difference)
        self.squared = np.einsum("nc,nc->n", difference, difference)
        self.similar = np.trunc(bottom[2].data.reshape(-1)) != 0
        losses = pair_losses(self.squared, self.similar, self.margin, self.legacy)
        top[0].data[...] = losses.sum(dtype=np.float64) / (2 * max(1, self.dims[0]))

    def backward_cpu(self, top, propagate_down, bottom):
        self.refuse_label_gradient(propagate_down)
        slopes = pair_slopes(self.squared, self.similar, self.margin, self.legacy)
        slopes = slopes.astype(self.dtype) * (float(top[0].diff) / max(1, self.dims[0]))
        difference = self.workspace("difference", self.dims)
        for wanted, blob, sign in zip(propagate_down, bottom[:2], (1, -1), strict=False):
            if wanted:
                np.multiply(difference, sign * slopes[:, None], out=blob.diff.reshape(self.dims))

    def _gpu_pairs(self, bottom):
        from caffe_spn.cuda.losses import Pairs

        return Pairs(*(blob.gpu_data for blob in bottom), self.margin, self.legacy)

    def forward_gpu(self, bottom, top):
        from caffe_spn.cuda import losses

        outcome = self.gpu_outcome(top, 2 * max(1, self.dims[0]))
        losses.contrastive_forward(self._gpu_pairs(bottom), outcome)

    def backward_gpu(self, top, propagate_down, bottom):
        self.refuse_label_gradient(propagate_down)
        if not any(propagate_down):
            return
        from caffe_spn.cuda import losses

        diffs = [
            blob.new_gpu_diff if wanted else None
            for wanted, blob in zip(propagate_down, bottom[:2], strict=False)
        ]
        pairs = self._gpu_pairs(bottom)
        losses.contrastive_backward(pairs, top[0].gpu_diff, self.gpu_summary, *diffs)
