"""HingeLoss: the loss of one-against-all support vector machines.

    loss = 1 / N * sum over examples and classes of max(0, 1 - sign * score)^p

with sign 1 for the class that the label names and -1 for the others.

Source: `HingeLossLayer` of BVLC Caffe.
"""

import numpy as np

from caffe_spn.layer import register
from caffe_spn.layers.loss import ExampleLoss
from caffe_spn.layers.loss_gpu import ExampleLossOnGpu
from caffe_spn.proto.caffe_pb2 import HingeLossParameter

L1 = HingeLossParameter.L1


@register("HingeLoss", bottoms=("scores", "labels"), tops=("loss",))
class HingeLoss(ExampleLossOnGpu, ExampleLoss):
    """loss = 1 / N * sum of max(0, 1 - sign * score)^p; sign is 1 at the label, -1 elsewhere

    Parameters
    ----------
    norm : {L1, L2}, default L1
        The power p, 1 or 2, of each violated margin.

    Bottoms, tops
    -------------
    scores : (N, ...)
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
    The gradient of L1 is 0 where a margin is met exactly. Like Caffe's, the layer reads no
    `loss_param`.

    Examples
    --------
    ::

        layer {
          name: "loss"
          type: "HingeLoss"
          bottom: "scores"
          bottom: "label"
          top: "loss"
          hinge_loss_param { norm: L2 }
        }
    """

    gpu_loss = "hinge"

    def setup(self, bottom, top):
        self.norm = self.layer_param.hinge_loss_param.norm

    def forward_cpu(self, bottom, top):
        self.read_at_label(bottom[1])
        margins = self.workspace("margins", self.dims)
        margins[...] = bottom[0].data.reshape(self.dims)
        margins[self.at_label] *= -1
        margins += 1
        np.maximum(margins, 0, out=margins)
        total = margins.sum(dtype=np.float64) if self.norm == L1 else np.vdot(margins, margins)
        top[0].data[...] = total / max(1, self.dims[0])

    def backward_cpu(self, top, propagate_down, bottom):
        self.refuse_label_gradient(propagate_down)
        if not propagate_down[0]:
            return
        weight = float(top[0].diff) / max(1, self.dims[0])
        margins, diff = self.workspace("margins", self.dims), bottom[0].diff.reshape(self.dims)
        if self.norm == L1:
            np.sign(margins, out=diff)
            diff *= weight
        else:
            np.multiply(margins, 2 * weight, out=diff)
        diff[self.at_label] *= -1

    def gpu_parameters(self):
        return (self.norm != L1,)
