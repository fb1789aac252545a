"""Swish: x times a sigmoid of x.

Source: `SwishLayer` of BVLC Caffe; P. Ramachandran et al., "Searching for activation functions",
2017.
"""

import numpy as np

from caffe_spn.layer import register
from caffe_spn.layers.neuron import NeuronLayer
from caffe_spn.layers.sigmoid import sigmoid


@register("Swish")
class Swish(NeuronLayer):
    """top = x * sigmoid(beta * x)

    Parameters
    ----------
    beta : float, default 1
        How steep the sigmoid is.

    Examples
    --------
    ::

        layer { name: "swish" type: "Swish" bottom: "x" top: "y" swish_param { beta: 1.5 } }
    """

    formula = ("swish", "beta")
    keeps_input = True

    def setup(self, bottom, top):
        self.beta = self.layer_param.swish_param.beta

    def forward_cpu(self, bottom, top):
        x = bottom[0].data
        # Kept for backward, which in place could not compute it any more.
        gate = self.workspace("gate", x.shape)
        np.multiply(x, self.beta, out=gate)
        sigmoid(gate, gate)
        np.multiply(x, gate, out=top[0].data)

    def backward_cpu(self, top, propagate_down, bottom):
        if not propagate_down[0]:
            return
        y, gate = top[0].data, self.workspace("gate", top[0].shape)
        # The slope is gate + beta y (1 - gate), in a form that does not cancel for large y.
        slope = np.subtract(1, gate, out=self.workspace("slope", y.shape))
        slope *= y
        slope *= self.beta
        slope += gate
        np.multiply(top[0].diff, slope, out=bottom[0].diff)
