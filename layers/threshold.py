"""Threshold: one where an element is above a value.

Source: `ThresholdLayer` of BVLC Caffe.
"""

import numpy as np

from caffe_spn.layer import register
from caffe_spn.layers.neuron import NeuronLayer


@register("Threshold")
class Threshold(NeuronLayer):
    """top = 1 where x > threshold, else 0

    Parameters
    ----------
    threshold : float, default 0
        What an element must exceed.

    Notes
    -----
    There is no gradient.

    Examples
    --------
    ::

        layer {
          name: "mask" type: "Threshold" bottom: "x" top: "mask" threshold_param { threshold: 0.5 }
        }
    """

    no_backward_bottoms = (0,)
    formula = ("threshold", "threshold")

    def setup(self, bottom, top):
        self.threshold = self.layer_param.threshold_param.threshold

    def forward_cpu(self, bottom, top):
        np.greater(bottom[0].data, self.threshold, out=top[0].data, casting="unsafe")

    def backward_cpu(self, top, propagate_down, bottom):
        if propagate_down[0]:
            raise self.param_error(
                "has no gradient: steps are flat",
                help="put 'propagate_down: false' at the layer that uses its top",
            )

    backward_gpu = backward_cpu
