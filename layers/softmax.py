"""Softmax: probabilities from scores.

Source: `SoftmaxLayer` of BVLC Caffe.
"""

import math

import numpy as np

from caffe_spn.layer import Layer, register


def around_axis(shape, axis: int) -> tuple[int, int, int]:
    """The shape as (outer, classes, inner): before, along and after the axis."""
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


def softmax(x, out):
    """out = exp(x) / sum of exp(x) over axis 1 of (outer, classes, inner); `out` may be `x`.

    The largest score is subtracted first, so that exp cannot overflow.
    """
    np.subtract(x, x.max(axis=1, keepdims=True), out=out)
    np.exp(out, out=out)
    out /= out.sum(axis=1, keepdims=True)


def softmax_backward(y, top_diff, out, scratch):
    """out = y * (top_diff - sum over axis 1 of top_diff * y); `out` may be `top_diff`."""
    np.multiply(top_diff, y, out=scratch)
    np.subtract(top_diff, scratch.sum(axis=1, keepdims=True), out=out)
    out *= y


@register("Softmax")
class Softmax(Layer):
    """top = exp(x) / sum of exp(x) over the classes

    Parameters
    ----------
    axis : int, default 1
        The axis of the classes; may count from the back.
    engine : accepted and ignored
        There is one implementation.

    Bottoms
    -------
    bottom : (N, C, ...)

    Tops
    ----
    top : the same shape; may be the same blob

    Raises
    ------
    ShapeError
        If the axis does not exist or has no classes.

    Examples
    --------
    ::

        layer { name: "prob" type: "Softmax" bottom: "scores" top: "prob" }
    """

    def reshape(self, bottom, top):
        axis = self.axis(bottom[0], self.layer_param.softmax_param.axis)
        self.dims = around_axis(bottom[0].shape, axis)
        if self.dims[1] == 0:
            raise self.shape_error(
                f"bottom {bottom[0].shape} has no classes along axis {axis}",
                help="softmax needs at least one",
            )
        top[0].reshape_like(bottom[0])

    def forward_cpu(self, bottom, top):
        softmax(bottom[0].data.reshape(self.dims), top[0].data.reshape(self.dims))

    def backward_cpu(self, top, propagate_down, bottom):
        if propagate_down[0]:
            y, top_diff, out = (
                a.reshape(self.dims) for a in (top[0].data, top[0].diff, bottom[0].diff)
            )
            softmax_backward(y, top_diff, out, self.workspace("scratch", self.dims))
