"""Sigmoid and TanH: squashing functions.

Source: `SigmoidLayer` and `TanHLayer` of BVLC Caffe.
"""

import numpy as np

from caffe_spn.layer import register
from caffe_spn.layers.neuron import NeuronLayer


def sigmoid(x, out):
    """out = 1 / (1 + exp(-x)), computed as (tanh(x / 2) + 1) / 2, which cannot overflow."""
    np.multiply(x, 0.5, out=out)
    np.tanh(out, out=out)
    out *= 0.5
    out += 0.5


@register("Sigmoid")
class Sigmoid(NeuronLayer):
    """top = 1 / (1 + exp(-x))

    Parameters
    ----------
    engine : accepted and ignored
        There is one implementation.

    Examples
    --------
    ::

        layer { name: "sigmoid" type: "Sigmoid" bottom: "x" top: "probability" }
    """

    def forward_cpu(self, bottom, top):
        sigmoid(bottom[0].data, top[0].data)

    def backward_cpu(self, top, propagate_down, bottom):
        if propagate_down[0]:
            y = top[0].data
            slope = self.workspace("slope", y.shape)
            np.subtract(1, y, out=slope)
            slope *= y
            np.multiply(top[0].diff, slope, out=bottom[0].diff)


@register("TanH")
class TanH(NeuronLayer):
    """top = tanh(x)

    Parameters
    ----------
    engine : accepted and ignored
        There is one implementation.

    Examples
    --------
    ::

        layer { name: "tanh" type: "TanH" bottom: "x" top: "y" }
    """

    def forward_cpu(self, bottom, top):
        np.tanh(bottom[0].data, out=top[0].data)

    def backward_cpu(self, top, propagate_down, bottom):
        if propagate_down[0]:
            y = top[0].data
            slope = self.workspace("slope", y.shape)
            np.multiply(y, y, out=slope)
            np.subtract(1, slope, out=slope)
            np.multiply(top[0].diff, slope, out=bottom[0].diff)
