"""Clip: keep values within bounds.

Source: `ClipLayer` of BVLC Caffe.
"""

import numpy as np

from caffe_spn.layer import register
from caffe_spn.layers.neuron import NeuronLayer


@register("Clip")
class Clip(NeuronLayer):
    """top = x within min and max, beyond them the nearer bound

    Parameters
    ----------
    min, max : float
        The bounds; they belong to the values that pass.

    Raises
    ------
    PrototxtError
        If one bound is missing.

    Notes
    -----
    The derivative is 1 within the bounds and on them, 0 outside. In place, as in Caffe, it is
    read from the clipped values, so that every gradient passes. Without any `clip_param` both
    bounds are 0, and with `min` above `max` every value is `min`, also as in Caffe; but NaN stays
    NaN, where Caffe makes it `min`.

    Examples
    --------
    ::

        layer { name: "clip" type: "Clip" bottom: "x" top: "y" clip_param { min: -1 max: 1 } }
    """

    formula = ("clip", "min", "max")

    def setup(self, bottom, top):
        param = self.layer_param.clip_param
        missing = [name for name in ("min", "max") if not param.HasField(name)]
        if self.layer_param.HasField("clip_param") and missing:
            raise self.param_error(
                f"has a clip_param without {' and '.join(missing)}",
                help="state both min and max",
            )
        self.min, self.max = param.min, param.max

    def forward_cpu(self, bottom, top):
        y = top[0].data
        # In this order the result is `min` where the bounds are crossed.
        np.minimum(bottom[0].data, self.max, out=y)
        np.maximum(y, self.min, out=y)

    def backward_cpu(self, top, propagate_down, bottom):
        if propagate_down[0]:
            x = bottom[0].data
            inside = np.greater_equal(x, self.min, out=self.workspace("inside", x.shape, bool))
            inside &= np.less_equal(x, self.max, out=self.workspace("below", x.shape, bool))
            np.multiply(top[0].diff, inside, out=bottom[0].diff)
