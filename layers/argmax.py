"""ArgMax: the indices of the largest elements.

Source: `ArgMaxLayer` of BVLC Caffe.
"""

import math

import numpy as np

from caffe_spn.layer import Layer, register
from caffe_spn.layers.softmax import around_axis


def largest(x, count: int):
    """Indices along axis 1 of (outer, size, inner) of the `count` largest elements, in order.

    Of equal elements the one with the higher index comes first, as in Caffe.
    """
    last = x.shape[1] - 1
    backwards = x[:, ::-1]
    if count == 1:
        return last - backwards.argmax(axis=1)[:, None]
    return last - np.argsort(-backwards, axis=1, kind="stable")[:, :count]


@register("ArgMax", in_place=False)
class ArgMax(Layer):
    """top = the indices of the `top_k` largest elements, along an axis or in each example

    Parameters
    ----------
    axis : int, optional
        May count from the back; without it, each example is taken as a whole.
    top_k : int, default 1
        How many elements, the largest first.
    out_max_val : bool, default False
        With an axis: the values instead of the indices. Without: the values too.

    Bottoms
    -------
    bottom : (N, ...)

    Tops
    ----
    top : see below
        With an axis: the bottom's shape, `top_k` along the axis. Without: (N, 1, top_k) of
        indices, or (N, 2, top_k) of indices and values, with ones behind for bottoms of more
        than 3 axes.

    Raises
    ------
    PrototxtError
        If `top_k` is 0.
    ShapeError
        If the axis does not exist, or is shorter than `top_k`.

    Notes
    -----
    There is no gradient.

    Examples
    --------
    ::

        layer {
          name: "labels" type: "ArgMax" bottom: "scores" top: "labels"
          argmax_param { axis: 1 }
        }
    """

    no_backward_bottoms = (0,)

    def setup(self, bottom, top):
        self.param = self.layer_param.argmax_param
        if self.param.top_k < 1:
            raise self.param_error("has top_k 0; it must be at least 1", help="leave it out")

    def reshape(self, bottom, top):
        shape = bottom[0].shape
        count = self.param.top_k
        if self.param.HasField("axis"):
            axis = self.axis(bottom[0], self.param.axis)
            self.dims = around_axis(shape, axis)
            new = [*shape[:axis], count, *shape[axis + 1 :]]
        else:
            self.axis(bottom[0], 0)
            self.dims = shape[0], math.prod(shape[1:]), 1
            rows = 2 if self.param.out_max_val else 1
            new = [shape[0], rows, count] + [1] * (len(shape) - 3)
        if count > self.dims[1]:
            raise self.shape_error(
                f"has top_k {count}, but bottom {shape} has {self.dims[1]} elements to choose from",
                help="reduce top_k, or check axis",
            )
        top[0].reshape(*new)

    def forward_cpu(self, bottom, top):
        x = bottom[0].data.reshape(self.dims)
        indices = largest(x, self.param.top_k)
        y = top[0].data
        if self.param.HasField("axis"):
            found = np.take_along_axis(x, indices, 1) if self.param.out_max_val else indices
            y[...] = found.reshape(y.shape)
            return
        rows = y.reshape(y.shape[:3])
        rows[:, 0] = indices[:, :, 0]
        if self.param.out_max_val:
            rows[:, 1] = np.take_along_axis(x, indices, 1)[:, :, 0]

    def backward_cpu(self, top, propagate_down, bottom):
        if propagate_down[0]:
            raise self.param_error(
                "has no gradient: an index does not change with the values",
                help="put 'propagate_down: false' at the layer that uses its top",
            )

    def forward_gpu(self, bottom, top):
        from caffe_spn.cuda.argmax import argmax

        y, count, inner = top[0].new_gpu_data, self.param.top_k, self.dims[2]
        indices, values, steps = y, None, (count * inner, inner)
        if self.param.HasField("axis"):
            if self.param.out_max_val:
                indices, values = None, y
        else:
            steps = (count, 1)
            if self.param.out_max_val and y.size:
                values, steps = y.part(count, (y.size - count,)), (2 * count, 1)
        argmax(bottom[0].gpu_data, self.dims, count, indices, values, steps)

    def backward_gpu(self, top, propagate_down, bottom):
        self.backward_cpu(top, propagate_down, bottom)  # refuses
