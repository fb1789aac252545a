"""Reduction: one number from all elements behind an axis.

Source: `ReductionLayer` of BVLC Caffe.
"""

import math

import numpy as np

from caffe_spn.layer import Layer, register
from caffe_spn.proto.caffe_pb2 import ReductionParameter

ASUM = ReductionParameter.ASUM
SUMSQ = ReductionParameter.SUMSQ
MEAN = ReductionParameter.MEAN
# What the kernels call the sums.
GPU_OPERATIONS = {ASUM: "asum", SUMSQ: "sumsq"}


@register("Reduction", in_place=False)
class Reduction(Layer):
    """Sum up the axes from `axis` on, and multiply by `coeff`.

    With a `loss_weight` it is a loss: SUMSQ of weights or activations is an L2 penalty, ASUM an
    L1 penalty.

    Parameters
    ----------
    operation : SUM, ASUM, SUMSQ or MEAN, default SUM
        The sum of the elements, of their absolute values, or of their squares; or their mean.
    axis : int, default 0
        The first axis that is summed up, with all those behind it. May count from the back.
    coeff : float, default 1
        What the result is multiplied by.

    Bottoms, tops
    -------------
    bottom : any shape with at least one axis
    top : the bottom's axes before `axis`; () if there are none

    Raises
    ------
    ShapeError
        If the axis does not exist.

    Notes
    -----
    The derivative of ASUM at 0 is 0. The mean of no elements is NaN, as in Caffe; their sum is 0.

    Examples
    --------
    A penalty on large activations::

        layer {
          name: "penalty" type: "Reduction" bottom: "x" top: "penalty" loss_weight: 1e-4
          reduction_param { operation: SUMSQ }
        }
    """

    def setup(self, bottom, top):
        self.operation = self.layer_param.reduction_param.operation

    def reshape(self, bottom, top):
        param, shape = self.layer_param.reduction_param, bottom[0].shape
        axis = self.axis(bottom[0], param.axis)
        self.dims = math.prod(shape[:axis]), math.prod(shape[axis:])
        self.coefficient = param.coeff
        if self.operation == MEAN:
            self.coefficient = param.coeff / self.dims[1] if self.dims[1] else math.nan
        top[0].reshape(*shape[:axis])

    def forward_cpu(self, bottom, top):
        x, y = bottom[0].data.reshape(self.dims), top[0].data.reshape(-1)
        if self.operation == ASUM:
            x = np.abs(x, out=self.workspace("terms", self.dims))
        elif self.operation == SUMSQ:
            x = np.square(x, out=self.workspace("terms", self.dims))
        np.sum(x, axis=1, out=y)
        if self.coefficient != 1:
            y *= self.coefficient

    def backward_cpu(self, top, propagate_down, bottom):
        if not propagate_down[0]:
            return
        x, bottom_diff = (a.reshape(self.dims) for a in (bottom[0].data, bottom[0].diff))
        slope = top[0].diff.reshape(-1, 1) * self.coefficient
        if self.operation == ASUM:
            np.sign(x, out=bottom_diff)
            bottom_diff *= slope
        elif self.operation == SUMSQ:
            np.multiply(x, 2 * slope, out=bottom_diff)
        else:
            bottom_diff[...] = slope

    def forward_gpu(self, bottom, top):
        from caffe_spn.cuda import reduction as kernels

        x, y = bottom[0].gpu_data.reshaped(*self.dims), top[0].new_gpu_data
        kernels.row_sums(self._gpu_operation, x, y, self.coefficient)

    def backward_gpu(self, top, propagate_down, bottom):
        if not propagate_down[0]:
            return
        from caffe_spn.cuda import reduction as kernels

        x, sums_diff = bottom[0].gpu_data.reshaped(*self.dims), top[0].gpu_diff
        x_diff = bottom[0].new_gpu_diff
        kernels.backward(self._gpu_operation, x, sums_diff, x_diff, self.coefficient)

    @property
    def _gpu_operation(self) -> str:
        return GPU_OPERATIONS.get(self.operation, "sum")
