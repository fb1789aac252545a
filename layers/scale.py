"""Scale and Bias: multiply by, or add, a blob that is broadcast over the other axes.

Source: `ScaleLayer` and `BiasLayer` of BVLC Caffe.
"""

import math

import numpy as np

from caffe_spn.layer import Layer, register
from caffe_spn.proto import caffe_pb2

ONE = caffe_pb2.FillerParameter(type="constant", value=1)
ZERO = caffe_pb2.FillerParameter(type="constant", value=0)


def sum_around(products, out_shape):
    """The sum of (outer, size, inner) over outer and inner, as `out_shape`.

    The long inner axis comes first: NumPy sums it pairwise, which loses less.
    """
    return products.sum(axis=2).sum(axis=0).reshape(out_shape)


class BroadcastLayer(Layer):
    """What both share: where the operand's axes lie in bottom 0.

    Attributes
    ----------
    dims : (outer, size, inner)
        Bottom 0 with the axes of the operand joined to one.
    """

    def param_shape(self, param, blob) -> tuple[int, ...]:
        """The shape of a learned operand: `num_axes` axes of the bottom from `axis` on."""
        start = self.axis(blob, param.axis)
        if param.num_axes < -1:
            raise self.param_error(
                f"has num_axes {param.num_axes}; it must be -1 (to the end) or more",
                help="num_axes is how many axes the parameter has",
            )
        end = len(blob.shape) if param.num_axes == -1 else start + param.num_axes
        if end > len(blob.shape):
            raise self.shape_error(
                f"bottom is {blob.shape}; it has no {param.num_axes} axes from axis {start} on",
                help="reduce num_axes, or use -1 for all to the end",
            )
        return blob.shape[start:end]

    def fit(self, bottom, operand, axis: int, role: str) -> None:
        """Check that the operand's shape is found in the bottom's, and set `dims`."""
        shape = bottom.shape
        size = operand.shape
        # A scalar fits everywhere, even where `axis` does not exist.
        start = self.axis(bottom, axis) if size else 0
        if shape[start : start + len(size)] != size:
            raise self.shape_error(
                f"{role} is {size}; bottom 0 is {shape}, whose axes from {start} on are"
                f" {shape[start:]}",
                help="the axes must agree; see axis and num_axes",
            )
        inner = math.prod(shape[start + len(size) :])
        self.dims = math.prod(shape[:start]), operand.count, inner

    def spread(self, array):
        """An operand's array as (1, size, 1), ready to broadcast over `dims`."""
        return array.reshape(1, -1, 1)


@register("Scale", bottoms=("data", "scale?"))
class Scale(BroadcastLayer):
    """top = data * scale (+ bias)

    Parameters
    ----------
    axis : int, default 1
        The axis of the data at which the scale's axes begin; may count from the back.
    num_axes : int, default 1
        How many axes a learned scale has; -1 for all to the end, 0 for a single number.
        Ignored when the scale is a bottom.
    filler : FillerParameter, default constant 1
        What the scale starts from.
    bias_term : bool, default False
        Also learn a bias of the scale's shape.
    bias_filler : FillerParameter, default constant 0
        What the bias starts from.

    Bottoms
    -------
    data : (N, C, ...)
    scale : the axes of the data from `axis` on, or the first of them
        Without it, the scale is learned.

    Tops
    ----
    top : the shape of `data`; may be the same blob

    Blobs
    -----
    scale : axes `axis` to `axis + num_axes` of the data; absent when it is a bottom
    bias : the scale's shape, with `bias_term`

    Raises
    ------
    ShapeError
        If the scale's shape is not found in the data's at `axis`.

    Examples
    --------
    ::

        layer {
          name: "scale1" type: "Scale" bottom: "bn1" top: "bn1" scale_param { bias_term: true }
        }
    """

    def setup(self, bottom, top):
        self.param = self.layer_param.scale_param
        learned = len(bottom) == 1
        if not self.blobs:
            shape = self.param_shape(self.param, bottom[0]) if learned else bottom[1].shape
            if learned:
                self.add_param(shape, self.param.filler if self.param.HasField("filler") else ONE)
            if self.param.bias_term:
                self.add_param(shape, self.param.bias_filler)
        self.bias = self.blobs[-1] if self.param.bias_term else None

    def reshape(self, bottom, top):
        self.operand = bottom[1] if len(bottom) == 2 else self.blobs[0]
        role = "bottom 1 (scale)" if len(bottom) == 2 else "the scale"
        self.fit(bottom[0], self.operand, self.param.axis, role)
        if self.bias is not None:
            self.fit(bottom[0], self.bias, self.param.axis, "the bias")
        top[0].reshape_like(bottom[0])
        self.in_place = bottom[0] is top[0]

    def forward_cpu(self, bottom, top):
        x, y = (b.data.reshape(self.dims) for b in (bottom[0], top[0]))
        if self.in_place:
            # The scale's gradient needs the input, which the output overwrites.
            self.workspace("saved", self.dims)[...] = x
        np.multiply(x, self.spread(self.operand.data), out=y)
        if self.bias is not None:
            y += self.spread(self.bias.data)

    def backward_cpu(self, top, propagate_down, bottom):
        top_diff = top[0].diff.reshape(self.dims)
        if self.bias is not None and self.param_propagate_down[-1]:
            self.bias.diff[...] += sum_around(top_diff, self.bias.shape)
        learned = len(bottom) == 1
        if self.param_propagate_down[0] if learned else propagate_down[1]:
            x = self.workspace("saved", self.dims) if self.in_place else bottom[0].data
            products = self.workspace("products", self.dims)
            np.multiply(top_diff, x.reshape(self.dims), out=products)
            gradient = sum_around(products, self.operand.shape)
            self.operand.diff[...] = self.operand.diff + gradient if learned else gradient
        if propagate_down[0]:
            scale = self.spread(self.operand.data)
            np.multiply(top_diff, scale, out=bottom[0].diff.reshape(self.dims))


@register("Bias", bottoms=("data", "bias?"))
class Bias(BroadcastLayer):
    """top = data + bias

    Parameters
    ----------
    axis : int, default 1
        The axis of the data at which the bias's axes begin; may count from the back.
    num_axes : int, default 1
        How many axes a learned bias has; -1 for all to the end, 0 for a single number.
        Ignored when the bias is a bottom.
    filler : FillerParameter, default constant 0
        What the bias starts from.

    Bottoms
    -------
    data : (N, C, ...)
    bias : the axes of the data from `axis` on, or the first of them
        Without it, the bias is learned.

    Tops
    ----
    top : the shape of `data`; may be the same blob

    Blobs
    -----
    bias : axes `axis` to `axis + num_axes` of the data; absent when it is a bottom

    Raises
    ------
    ShapeError
        If the bias's shape is not found in the data's at `axis`.

    Examples
    --------
    ::

        layer { name: "bias1" type: "Bias" bottom: "x" top: "y" bias_param { axis: 1 } }
    """

    def setup(self, bottom, top):
        self.param = self.layer_param.bias_param
        if len(bottom) == 1 and not self.blobs:
            filler = self.param.filler if self.param.HasField("filler") else ZERO
            self.add_param(self.param_shape(self.param, bottom[0]), filler)

    def reshape(self, bottom, top):
        self.operand = bottom[1] if len(bottom) == 2 else self.blobs[0]
        role = "bottom 1 (bias)" if len(bottom) == 2 else "the bias"
        self.fit(bottom[0], self.operand, self.param.axis, role)
        top[0].reshape_like(bottom[0])

    def forward_cpu(self, bottom, top):
        x, y = (b.data.reshape(self.dims) for b in (bottom[0], top[0]))
        np.add(x, self.spread(self.operand.data), out=y)

    def backward_cpu(self, top, propagate_down, bottom):
        top_diff = top[0].diff.reshape(self.dims)
        if propagate_down[0] and bottom[0] is not top[0]:
            bottom[0].diff.reshape(self.dims)[...] = top_diff
        if len(bottom) == 2:
            if propagate_down[1]:
                bottom[1].diff[...] = sum_around(top_diff, self.operand.shape)
        elif self.param_propagate_down[0]:
            self.operand.diff[...] += sum_around(top_diff, self.operand.shape)
