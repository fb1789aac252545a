"""ReLU, PReLU and ELU: rectifiers.

Source: `ReLULayer`, `PReLULayer` and `ELULayer` of BVLC Caffe; K. He et al., "Delving deep into
rectifiers", 2015, equation 1 (PReLU); D.-A. Clevert et al., "Fast and accurate deep network
learning by exponential linear units", 2016, equation 15 (ELU).
"""

import math

import numpy as np

from caffe_spn.cpu import pointwise
from caffe_spn.layer import register
from caffe_spn.layers.neuron import NeuronLayer
from caffe_spn.proto import caffe_pb2

DEFAULT_SLOPE = caffe_pb2.FillerParameter(type="constant", value=0.25)


@register("ReLU")
class ReLU(NeuronLayer):
    """top = max(x, 0) + negative_slope * min(x, 0)

    Parameters
    ----------
    negative_slope : float, default 0
        Slope for x <= 0; also the derivative at 0.
    engine : accepted and ignored
        There is one implementation.

    Notes
    -----
    In place, the backward pass reads the sign from the output, as Caffe's does; a negative
    `negative_slope` then gives another gradient than with a top of its own.

    Examples
    --------
    ::

        layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
    """

    formula = ("relu", "slope")

    def setup(self, bottom, top):
        self.slope = self.layer_param.relu_param.negative_slope

    def forward_cpu(self, bottom, top):
        pointwise.rectify(bottom[0].data, self.slope, top[0].data)

    def backward_cpu(self, top, propagate_down, bottom):
        if propagate_down[0]:
            pointwise.rectify_backward(bottom[0].data, top[0].diff, self.slope, bottom[0].diff)


@register("PReLU")
class PReLU(NeuronLayer):
    """top = max(x, 0) + slope[c] * min(x, 0), with a learned slope for each channel c

    Parameters
    ----------
    filler : FillerParameter, default constant 0.25
        The slopes to start from.
    channel_shared : bool, default False
        One slope for all channels.

    Bottoms
    -------
    bottom : (N, C, ...)

    Tops
    ----
    top : (N, C, ...)

    Blobs
    -----
    slope : (C,), or () when shared

    Raises
    ------
    ShapeError
        If the bottom has no channel axis, or the slopes' number is not that of the channels.

    Examples
    --------
    ::

        layer { name: "prelu1" type: "PReLU" bottom: "conv1" top: "conv1" }
    """

    def setup(self, bottom, top):
        self._check_axes(bottom[0])
        param = self.layer_param.prelu_param
        self.shared = param.channel_shared
        if not self.blobs:
            filler = param.filler if param.HasField("filler") else DEFAULT_SLOPE
            self.add_param(() if self.shared else (bottom[0].shape[1],), filler)

    def reshape(self, bottom, top):
        self._check_axes(bottom[0])
        shape = bottom[0].shape
        wanted = 1 if self.shared else shape[1]
        if self.blobs[0].count != wanted:
            raise self.shape_error(
                f"has {self.blobs[0].count} slopes, but a bottom of shape {shape} needs {wanted}",
                help="the channels cannot change; see also channel_shared",
            )
        super().reshape(bottom, top)
        self.in_place = bottom[0] is top[0]
        self.dims = (shape[0], wanted, math.prod(shape[1:]) // wanted if wanted else 0)

    def _check_axes(self, blob):
        if len(blob.shape) < 2:
            raise self.shape_error(
                f"bottom has shape {blob.shape}; PReLU needs at least 2 axes (N, C)",
                help="its second axis is the channels",
            )

    def forward_cpu(self, bottom, top):
        x = bottom[0].data
        if self.in_place and self.needs_backward:
            # The slope's gradient needs the input, which the output overwrites.
            saved = self.workspace("saved", x.shape)
            saved[...] = x
        x, y = x.reshape(self.dims), top[0].data.reshape(self.dims)
        pointwise.rectify_channels(x, self.blobs[0].data.reshape(-1), y)

    def backward_cpu(self, top, propagate_down, bottom):
        x = self.workspace("saved", bottom[0].shape) if self.in_place else bottom[0].data
        x, top_diff = x.reshape(self.dims), top[0].diff.reshape(self.dims)
        slopes = self.blobs[0]
        if self.param_propagate_down[0]:
            # Before the bottom's diff, which in place overwrites top_diff.
            terms = np.minimum(x, 0, out=self.workspace("terms", self.dims))
            terms *= top_diff
            slopes.diff[...] += terms.sum(axis=(0, 2)).reshape(slopes.shape)
        if propagate_down[0]:
            bottom_diff = bottom[0].diff.reshape(self.dims)
            pointwise.rectify_channels_backward(x, top_diff, slopes.data.reshape(-1), bottom_diff)

    def forward_gpu(self, bottom, top):
        from caffe_spn.cuda import prelu

        x, slopes = bottom[0].gpu_data, self.blobs[0].gpu_data
        keeps = self.in_place and self.needs_backward
        saved = self.gpu_workspace("saved", x.shape) if keeps else None
        prelu.forward(x, slopes, top[0].new_gpu_data, self.dims, saved)

    def backward_gpu(self, top, propagate_down, bottom):
        from caffe_spn.cuda import prelu

        x, slopes = bottom[0].gpu_data, self.blobs[0]
        if self.in_place:
            x = self.gpu_workspace("saved", x.shape)
        top_diff = top[0].gpu_diff
        if self.param_propagate_down[0]:
            prelu.slope_gradient(x, top_diff, self.dims, slopes.mutable_gpu_diff)
        if propagate_down[0]:
            prelu.backward(x, top_diff, slopes.gpu_data, bottom[0].new_gpu_diff, self.dims)


@register("ELU")
class ELU(NeuronLayer):
    """top = x where x > 0, alpha * (exp(x) - 1) elsewhere

    Parameters
    ----------
    alpha : float, default 1
        The top tends to -alpha where x is far below 0.

    Notes
    -----
    The derivative at x <= 0 is alpha + top. In place, the sign is read from the output.

    Examples
    --------
    ::

        layer { name: "elu1" type: "ELU" bottom: "conv1" top: "conv1" }
    """

    formula = ("elu", "alpha")

    def setup(self, bottom, top):
        self.alpha = self.layer_param.elu_param.alpha

    def forward_cpu(self, bottom, top):
        pointwise.elu(bottom[0].data, self.alpha, top[0].data)

    def backward_cpu(self, top, propagate_down, bottom):
        if propagate_down[0]:
            x, y = bottom[0].data, top[0].data
            pointwise.elu_backward(x, y, top[0].diff, self.alpha, bottom[0].diff)
