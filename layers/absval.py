"""AbsVal: the absolute value.

Source: `AbsValLayer` of BVLC Caffe.
"""

import numpy as np

from caffe_spn.layer import register
from caffe_spn.layers.neuron import NeuronLayer


@register("AbsVal", in_place=False)
class AbsVal(NeuronLayer):
    """top = abs(x); the derivative at 0 is 0

    It cannot compute in place: the sign would be lost.

    Examples
    --------
    ::

        layer { name: "abs" type: "AbsVal" bottom: "x" top: "abs" }
    """

    formula = ("absval",)

    def forward_cpu(self, bottom, top):
        np.abs(bottom[0].data, out=top[0].data)

    def backward_cpu(self, top, propagate_down, bottom):
        if propagate_down[0]:
            sign = np.sign(bottom[0].data, out=self.workspace("sign", bottom[0].shape))
            np.multiply(top[0].diff, sign, out=bottom[0].diff)
