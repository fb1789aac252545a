"""BNLL: the binomial normal log likelihood, a smooth rectifier (softplus).

Source: `BNLLLayer` of BVLC Caffe.
"""

import numpy as np

from caffe_spn.layer import register
from caffe_spn.layers.neuron import NeuronLayer
from caffe_spn.layers.sigmoid import sigmoid


def bnll(x, out, scratch):
    """out = log(1 + exp(x)), computed so that exp cannot overflow; `out` may be `x`."""
    np.abs(x, out=scratch)
    np.negative(scratch, out=scratch)
    np.exp(scratch, out=scratch)
    np.log1p(scratch, out=scratch)
    np.maximum(x, 0, out=out)
    out += scratch


@register("BNLL")
class BNLL(NeuronLayer):
    """top = log(1 + exp(x))

    Notes
    -----
    In place the gradient is not the derivative (nor is Caffe's): the top has overwritten x, and
    the slope is taken there. The layer warns.

    Examples
    --------
    ::

        layer { name: "softplus" type: "BNLL" bottom: "x" top: "y" }
    """

    formula = ("bnll",)
    flaw_in_place = "takes the slope at the top's values"

    def forward_cpu(self, bottom, top):
        bnll(bottom[0].data, top[0].data, self.workspace("scratch", bottom[0].shape))

    def backward_cpu(self, top, propagate_down, bottom):
        if not propagate_down[0]:
            return
        self.warn_in_place(bottom, top)
        slope = self.workspace("scratch", bottom[0].shape)
        sigmoid(bottom[0].data, slope)
        np.multiply(top[0].diff, slope, out=bottom[0].diff)
