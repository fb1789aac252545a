"""Sigmoid and TanH: squashing functions.

Source: `SigmoidLayer` and `TanHLayer` of BVLC Caffe.
"""

import numpy as np

from caffe_spn.cpu.pointwise import sigmoid, sigmoid_backward, tanh_backward
from caffe_spn.layer import register
from caffe_spn.layers.neuron import NeuronLayer


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

    formula = ("sigmoid",)

    def forward_cpu(self, bottom, top):
        sigmoid(bottom[0].data, top[0].data)

    def backward_cpu(self, top, propagate_down, bottom):
        if propagate_down[0]:
            sigmoid_backward(top[0].data, top[0].diff, bottom[0].diff)


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

    formula = ("tanh",)

    def forward_cpu(self, bottom, top):
        np.tanh(bottom[0].data, out=top[0].data)

    def backward_cpu(self, top, propagate_down, bottom):
        if propagate_down[0]:
            tanh_backward(top[0].data, top[0].diff, bottom[0].diff)
