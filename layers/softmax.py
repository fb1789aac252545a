"""Softmax: probabilities from scores.

Source: `SoftmaxLayer` of BVLC Caffe.
"""

import math

from caffe_spn.cpu import softmax
from caffe_spn.layer import Layer, register


def around_axis(shape, axis: int) -> tuple[int, int, int]:
    """The shape as (outer, classes, inner): before, along and after the axis."""
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


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
        softmax.forward(bottom[0].data.reshape(self.dims), top[0].data.reshape(self.dims))

    def backward_cpu(self, top, propagate_down, bottom):
        if propagate_down[0]:
            softmax.backward(
                *(a.reshape(self.dims) for a in (top[0].data, top[0].diff, bottom[0].diff))
            )

    def forward_gpu(self, bottom, top):
        from caffe_spn.cuda import softmax as kernels

        kernels.forward(bottom[0].gpu_data, top[0].new_gpu_data, self.dims)

    def backward_gpu(self, top, propagate_down, bottom):
        if not propagate_down[0]:
            return
        from caffe_spn.cuda import softmax as kernels

        diffs = top[0].gpu_diff, bottom[0].new_gpu_diff
        kernels.backward(top[0].gpu_data, *diffs, self.dims)
