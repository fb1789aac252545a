"""Scale and Bias: multiply by, or add, a blob that is broadcast over the other axes.

Source: `ScaleLayer` and `BiasLayer` of BVLC Caffe.
"""

import math

import numpy as np

from caffe_spn.layer import Layer, register
from caffe_spn.proto import caffe_pb2


def sum_around(products, out_shape):
    """The sum of (outer, size, inner) over outer and inner, as `out_shape`.

    The long inner axis comes first: NumPy sums it pairwise, which loses less.
    """
    return products.sum(axis=2).sum(axis=0).reshape(out_shape)


class BroadcastLayer(Layer):
    """What both share: an operand, learned or bottom 1, and where its axes lie in bottom 0.

    Attributes
    ----------
    param : ScaleParameter or BiasParameter
    learned : bool
        Whether the operand is a parameter; otherwise it is bottom 1.
    operand : Blob
    dims : (outer, size, inner)
        Bottom 0 with the axes of the operand joined to one.
    """

    def read_operand(self, param, bottom, default: float) -> None:
        """Read the definition, and create the operand if it is learned."""
        self.param, self.learned = param, len(bottom) == 1
        if self.learned and not self.blobs:
            constant = caffe_pb2.FillerParameter(type="constant", value=default)
            filler = param.filler if param.HasField("filler") else constant
            self.add_param(self._learned_shape(bottom[0]), filler)

    def _learned_shape(self, blob) -> tuple[int, ...]:
        """`num_axes` axes of the bottom from `axis` on."""
        start, axes = self.axis(blob, self.param.axis), self.param.num_axes
        if axes < -1:
            raise self.param_error(
                f"has num_axes {axes}; it must be -1 (to the end) or more",
                help="num_axes is how many axes the parameter has",
            )
        end = len(blob.shape) if axes == -1 else start + axes
        if end > len(blob.shape):
            raise self.shape_error(
                f"bottom is {blob.shape}; it has no {axes} axes from axis {start} on",
                help="reduce num_axes, or use -1 for all to the end",
            )
        return blob.shape[start:end]

    def reshape(self, bottom, top):
        self.operand = self.blobs[0] if self.learned else bottom[1]
        role = self.type.lower()
        self.fit(bottom[0], self.operand, f"the {role}" if self.learned else f"bottom 1 ({role})")
        top[0].reshape_like(bottom[0])

    def fit(self, bottom, operand, role: str) -> None:
        """Check that the operand's shape is found in the bottom's, and set `dims`."""
        shape = bottom.shape
        size = operand.shape
        # A scalar fits everywhere, even where `axis` does not exist.
        start = self.axis(bottom, self.param.axis) if size else 0
        if shape[start : start + len(size)] != size:
            raise self.shape_error(
                f"{role} is {size}; bottom 0 is {shape}, whose axes from {start} on are"
                f" {shape[start:]}",
                help="the axes must agree; see axis and num_axes",
            )
        inner = math.prod(shape[start + len(size) :])
        self.dims = math.prod(shape[:start]), operand.count, inner

    def spread(self, blob):
        """An operand's data as (1, size, 1), ready to broadcast over `dims`."""
        return blob.data.reshape(1, -1, 1)

    def operand_wanted(self, propagate_down) -> bool:
        """Whether the operand needs a gradient."""
        return self.param_propagate_down[0] if self.learned else propagate_down[1]

    def operand_diff_on_gpu(self):
        """The operand's diff on the device: to be added to if it is learned, else to overwrite."""
        return self.operand.mutable_gpu_diff if self.learned else self.operand.new_gpu_diff

    def write_operand_diff(self, products) -> None:
        """The operand's diff: the sum of `products` (of shape `dims`) around its axes."""
        gradient = sum_around(products, self.operand.shape)
        if self.learned:
            gradient += self.operand.diff
        self.operand.diff[...] = gradient


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

    _before = _saved_on_gpu = None

    def setup(self, bottom, top):
        self.read_operand(self.layer_param.scale_param, bottom, default=1)
        self.bias = None
        if self.param.bias_term:
            if len(self.blobs) == self.learned:
                shape = self.blobs[0].shape if self.learned else bottom[1].shape
                self.add_param(shape, self.param.bias_filler)
            self.bias = self.blobs[-1]

    def reshape(self, bottom, top):
        super().reshape(bottom, top)
        if self.bias is not None:
            self.fit(bottom[0], self.bias, "the bias")
        self.in_place = bottom[0] is top[0]

    def forward_cpu(self, bottom, top):
        x, y = (b.data.reshape(self.dims) for b in (bottom[0], top[0]))
        if self.in_place and self.needs_backward:
            # The scale's gradient needs the input, which the output overwrites.
            self.workspace("saved", self.dims)[...] = x
        np.multiply(x, self.spread(self.operand), out=y)
        if self.bias is not None:
            y += self.spread(self.bias)

    def backward_cpu(self, top, propagate_down, bottom):
        top_diff = top[0].diff.reshape(self.dims)
        if self.bias is not None and self.param_propagate_down[-1]:
            self.bias.diff[...] += sum_around(top_diff, self.bias.shape)
        if self.operand_wanted(propagate_down):
            x = self.workspace("saved", self.dims) if self.in_place else bottom[0].data
            products = self.workspace("products", self.dims)
            np.multiply(top_diff, x.reshape(self.dims), out=products)
            self.write_operand_diff(products)
        if propagate_down[0]:
            bottom_diff = bottom[0].diff.reshape(self.dims)
            np.multiply(top_diff, self.spread(self.operand), out=bottom_diff)

    def forward_gpu(self, bottom, top):
        from caffe_spn.cuda import scale

        touched = bottom[0].data_memory.host_ahead > 0
        x, factors = bottom[0].gpu_data, self.operand.gpu_data
        summands = None if self.bias is None else self.bias.gpu_data
        saved = None
        if self.in_place and self.needs_backward:
            # The layer before may have kept it anyway, as BatchNorm does; but not what the host
            # has made of it since.
            kept = None if self._before is None else self._before.gpu_kept_output()
            self._saved_on_gpu = None if touched else kept
            if self._saved_on_gpu is None:
                self._saved_on_gpu = saved = self.gpu_workspace("saved", x.shape)
        scale.scale(x, top[0].new_gpu_data, self.dims, factors, summands, saved)

    def runs_behind(self, layer):
        self._before = layer

    def backward_gpu(self, top, propagate_down, bottom):
        from caffe_spn.cuda import scale

        top_diff = top[0].gpu_diff
        if self.bias is not None and self.param_propagate_down[-1]:
            scale.summand_gradient(top_diff, self.dims, self.bias.mutable_gpu_diff, True)
        if self.operand_wanted(propagate_down):
            x = bottom[0].gpu_data
            if self.in_place:
                x = self._saved_on_gpu
            gradient = self.operand_diff_on_gpu()
            scale.factor_gradient(x, top_diff, self.dims, gradient, self.learned)
        if propagate_down[0]:
            out = bottom[0].new_gpu_diff
            scale.scale(top_diff, out, self.dims, self.operand.gpu_data)


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
        self.read_operand(self.layer_param.bias_param, bottom, default=0)

    def forward_cpu(self, bottom, top):
        x, y = (b.data.reshape(self.dims) for b in (bottom[0], top[0]))
        np.add(x, self.spread(self.operand), out=y)

    def backward_cpu(self, top, propagate_down, bottom):
        top_diff = top[0].diff.reshape(self.dims)
        if self.operand_wanted(propagate_down):
            self.write_operand_diff(top_diff)
        if propagate_down[0] and bottom[0] is not top[0]:
            bottom[0].diff.reshape(self.dims)[...] = top_diff

    def forward_gpu(self, bottom, top):
        from caffe_spn.cuda import scale

        x, summands = bottom[0].gpu_data, self.operand.gpu_data
        scale.scale(x, top[0].new_gpu_data, self.dims, summands=summands)

    def backward_gpu(self, top, propagate_down, bottom):
        from caffe_spn.cuda import scale
        from caffe_spn.cuda.runtime import runtime

        top_diff = top[0].gpu_diff
        if self.operand_wanted(propagate_down):
            gradient = self.operand_diff_on_gpu()
            scale.summand_gradient(top_diff, self.dims, gradient, self.learned)
        if propagate_down[0] and bottom[0] is not top[0]:
            runtime().copy(bottom[0].new_gpu_diff, top_diff)
