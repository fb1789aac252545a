"""Eltwise: product, weighted sum or maximum of blobs of equal shape.

Source: `EltwiseLayer` of BVLC Caffe.
"""

import numpy as np

from caffe_spn.cpu import pointwise
from caffe_spn.layer import Layer, register
from caffe_spn.proto.caffe_pb2 import EltwiseParameter


def product(inputs, out):
    """out = product of the inputs; `out` may be the first."""
    np.multiply(inputs[0], inputs[1], out=out)
    for x in inputs[2:]:
        out *= x


def weighted_sum(inputs, coefficients, out):
    """out = sum of coefficients[i] * inputs[i]; `out` may be the first input."""
    pointwise.weighted_sum(inputs[0], coefficients[0], inputs[1], coefficients[1], out)
    for x, coefficient in zip(inputs[2:], coefficients[2:], strict=True):
        pointwise.weighted_sum(out, 1, x, coefficient, out)


def maximum(inputs, out, winner):
    """out = the largest input, winner (integers) = its index; `out` may be the first input.

    At a tie of the first two the second wins; a later one must be larger than all before.
    """
    pointwise.larger_of_two(inputs[0], inputs[1], out, winner)
    for i, x in enumerate(inputs[2:], start=2):
        pointwise.keep_larger(x, i, out, winner)


def scale(x, coefficient, out):
    """out = coefficient * x"""
    if coefficient == 1:
        out[...] = x
    else:
        np.multiply(x, coefficient, out=out)


@register("Eltwise", bottoms=("a", "b", "c*"))
class Eltwise(Layer):
    """top = a * b * ..., coeff[0] * a + coeff[1] * b + ..., or max(a, b, ...)

    Parameters
    ----------
    operation : PROD, SUM or MAX, default SUM
        Product, weighted sum or maximum, element by element.
    coeff : float for each bottom, default 1
        Weights of SUM; MAX ignores them, PROD refuses them.
    stable_prod_grad : bool, default True
        Compute the gradient of PROD as the product of the other bottoms. False divides the
        top by the bottom, which is faster for many bottoms and NaN where the bottom is 0.

    Bottoms
    -------
    a, b, c* : any; equal for all

    Tops
    ----
    top : the same shape; may be the same blob as `a`

    Raises
    ------
    PrototxtError
        If the number of `coeff` is not that of the bottoms, or PROD has any.
    ShapeError
        If the shapes differ; nothing is broadcast.

    Notes
    -----
    The gradient of MAX goes to one bottom: at a tie of the first two to the second, at other
    ties to the earliest. In place, where Caffe loses the first bottom, the result here is that
    of a separate top.

    Examples
    --------
    ::

        layer {
          name: "difference" type: "Eltwise" bottom: "a" bottom: "b" top: "difference"
          eltwise_param { operation: SUM coeff: 1 coeff: -1 }
        }
    """

    def setup(self, bottom, top):
        param = self.layer_param.eltwise_param
        self.operation = param.operation
        self.stable = param.stable_prod_grad
        self.coefficients = list(param.coeff) or [1.0] * len(bottom)
        if len(self.coefficients) != len(bottom):
            raise self.param_error(
                f"has {len(param.coeff)} coeff for {len(bottom)} bottoms",
                help="state coeff once for each bottom, or not at all",
            )
        if param.coeff and self.operation == EltwiseParameter.PROD:
            raise self.param_error(
                "has coeff with operation PROD; they belong to SUM",
                help="remove them, or scale the top with a Power layer",
            )

    def reshape(self, bottom, top):
        for i, blob in enumerate(bottom):
            if blob.shape != bottom[0].shape:
                raise self.shape_error(
                    f"bottom {i} is {blob.shape}; it must have the shape of bottom 0,"
                    f" {bottom[0].shape}",
                    help="nothing is broadcast: use Crop, Tile or Scale",
                )
        top[0].reshape_like(bottom[0])
        self.in_place = bottom[0] is top[0]

    def forward_cpu(self, bottom, top):
        inputs = [b.data for b in bottom]
        out = top[0].data
        if self.operation == EltwiseParameter.PROD:
            if self.in_place and self.needs_backward:
                self.workspace("saved", out.shape)[...] = out
            product(inputs, out)
        elif self.operation == EltwiseParameter.SUM:
            weighted_sum(inputs, self.coefficients, out)
        else:
            maximum(inputs, out, self._winner(bottom))

    def backward_cpu(self, top, propagate_down, bottom):
        # The last first: in place, bottom 0's diff is top_diff.
        for i in reversed(range(len(bottom))):
            if propagate_down[i]:
                self._backward_to(i, top[0], bottom)

    def _backward_to(self, i, top, bottom):
        top_diff, out = top.diff, bottom[i].diff
        if self.operation == EltwiseParameter.PROD:
            self._backward_product(i, top, bottom)
        elif self.operation == EltwiseParameter.SUM:
            scale(top_diff, self.coefficients[i], out)
        else:
            pointwise.select(self._winner(bottom), i, top_diff, out)

    def _backward_product(self, i, top, bottom):
        inputs = [b.data for b in bottom]
        if self.in_place:
            inputs[0] = self.workspace("saved", top.shape)
        if self.stable:
            others = inputs[:i] + inputs[i + 1 :]
            product([top.diff] + others, bottom[i].diff)
        else:
            quotient = self.workspace("scratch", top.shape)
            with np.errstate(divide="ignore", invalid="ignore"):
                np.divide(top.data, inputs[i], out=quotient)
            np.multiply(quotient, top.diff, out=bottom[i].diff)

    def forward_gpu(self, bottom, top):
        from caffe_spn.cuda import eltwise
        from caffe_spn.cuda.runtime import runtime

        if self._is_host_only(bottom):
            super().forward_gpu(bottom, top)
            return
        inputs = [b.gpu_data for b in bottom]
        multiplies = self.operation == EltwiseParameter.PROD
        if multiplies and self.in_place and self.needs_backward:
            runtime().copy(self.gpu_workspace("saved", inputs[0].shape), inputs[0])
        out = top[0].new_gpu_data
        if multiplies:
            eltwise.product(inputs, out)
        elif self.operation == EltwiseParameter.SUM:
            eltwise.weighted_sum(inputs, self.coefficients, out)
        else:
            eltwise.maximum(inputs, out, self.gpu_workspace("winner", out.shape, np.uint8))

    def backward_gpu(self, top, propagate_down, bottom):
        from caffe_spn.cuda import eltwise

        if self._is_host_only(bottom):
            super().backward_gpu(top, propagate_down, bottom)
            return
        top_diff = top[0].gpu_diff
        wanted = zip(bottom, propagate_down, strict=True)
        diffs = [b.new_gpu_diff if wants else None for b, wants in wanted]
        if self.operation == EltwiseParameter.PROD:
            self._backward_product_gpu(top[0].gpu_data, top_diff, bottom, diffs)
        elif self.operation == EltwiseParameter.SUM:
            eltwise.weighted_sum_backward(top_diff, self.coefficients, diffs)
        else:
            winner = self.gpu_workspace("winner", top_diff.shape, np.uint8)
            eltwise.maximum_backward(top_diff, winner, diffs)

    def _backward_product_gpu(self, y, top_diff, bottom, diffs):
        from caffe_spn.cuda import eltwise

        inputs = [b.gpu_data for b in bottom]
        if self.in_place:
            inputs[0] = self.gpu_workspace("saved", y.shape)
        if self.stable:
            eltwise.product_backward(top_diff, inputs, diffs)
            return
        for x, diff in reversed(list(zip(inputs, diffs, strict=True))):
            if diff is not None:
                eltwise.quotient_backward(y, x, top_diff, diff)

    def _is_host_only(self, bottom) -> bool:
        from caffe_spn.cuda import eltwise

        return self.operation == EltwiseParameter.MAX and len(bottom) > eltwise.MOST_OF_MAX

    def _winner(self, bottom):
        return self.workspace("winner", bottom[0].shape, np.min_scalar_type(len(bottom)))
