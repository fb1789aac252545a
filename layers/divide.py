"""Divide: a number over each element, guarded near 0.

Source: the layer type of that name in the original SPN fork of Caffe, which turns the sum of
absolute gates into the factor that normalises them. Unlike that one it leaves its bottom alone.
"""

import numpy as np

from caffe_spn.layer import register
from caffe_spn.layers.neuron import NeuronLayer

SMALLEST = 1e-6


def divide(alpha, x, out):
    """out = alpha / x, with x taken as +-1e-6 where it is closer to 0; `out` may be `x`."""
    small = np.abs(x) < SMALLEST
    if small.any():
        guarded = np.where(small, np.copysign(x.dtype.type(SMALLEST), x), x)
        np.divide(alpha, guarded, out=out)
    else:
        np.divide(alpha, x, out=out)


def divide_backward(alpha, y, top_diff, out, scratch):
    """out = -y^2 / alpha top_diff, and 0 where the guard made y a constant."""
    if alpha == 0:
        out.fill(0)
        return
    np.multiply(y, y, out=scratch)
    scratch *= -1 / alpha
    # At the guard y is +-alpha / 1e-6, in the same rounding as forward's.
    limit = abs(y.dtype.type(alpha) / y.dtype.type(SMALLEST))
    scratch[np.abs(y) >= limit] = 0
    np.multiply(top_diff, scratch, out=out)


@register("Divide")
class Divide(NeuronLayer):
    """top = alpha / x

    Parameters
    ----------
    alpha : float, default 1
        What is divided.

    Notes
    -----
    Where ``|x| < 1e-6`` the divisor is 1e-6 with the sign of x, so that the top is finite; it is
    constant there, and the gradient 0.

    Examples
    --------
    ::

        layer {
          name: "factor" type: "Divide" bottom: "sum" top: "factor" divide_param { alpha: 1 }
        }
    """

    formula = ("divide", "alpha")

    def setup(self, bottom, top):
        self.alpha = self.layer_param.divide_param.alpha

    def forward_cpu(self, bottom, top):
        divide(self.alpha, bottom[0].data, top[0].data)

    def backward_cpu(self, top, propagate_down, bottom):
        if propagate_down[0]:
            y = top[0].data
            scratch = self.workspace("scratch", y.shape)
            divide_backward(self.alpha, y, top[0].diff, bottom[0].diff, scratch)
