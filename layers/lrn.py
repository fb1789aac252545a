"""LRN: local response normalisation, across channels or within them.

Source: `LRNLayer` of BVLC Caffe; A. Krizhevsky et al., "ImageNet classification with deep
convolutional neural networks", 2012, section 3.3.
"""

import warnings

from caffe_spn.cpu import lrn
from caffe_spn.layer import Layer, register
from caffe_spn.proto import caffe_pb2

ACROSS = caffe_pb2.LRNParameter.ACROSS_CHANNELS


@register("LRN")
class LRN(Layer):
    """top = x / (k + alpha / n * sum of x^2 over n neighbours) ^ beta

    Parameters
    ----------
    local_size : int, default 5
        Odd: how many channels, or how many rows and columns, are neighbours.
    alpha : float, default 1
        How much the neighbours count.
    beta : float, default 0.75
        The exponent.
    norm_region : {ACROSS_CHANNELS, WITHIN_CHANNEL}, default ACROSS_CHANNELS
        The neighbours are local_size channels around each at the same pixel, or local_size x
        local_size pixels of the same channel. n is their number, also where some of them lie
        beyond the edge and count as zeros.
    k : float, default 1
        WITHIN_CHANNEL takes 1 instead, as in Caffe, and warns if another number is given.
    engine : accepted and ignored
        There is one implementation.

    Bottoms, tops
    -------------
    bottom, top : (N, C, H, W)

    Raises
    ------
    PrototxtError
        If local_size is even.
    ShapeError
        If the bottom has not four axes.

    Notes
    -----
    In place, where Caffe loses the input that the gradient needs, the result here is that of a
    separate top.

    Examples
    --------
    ::

        layer {
          name: "norm1"
          type: "LRN"
          bottom: "pool1"
          top: "norm1"
          lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }
        }
    """

    def setup(self, bottom, top):
        param = self.layer_param.lrn_param
        across = param.norm_region == ACROSS
        if param.local_size % 2 == 0:
            raise self.param_error(
                f"has local_size {param.local_size}; it must be odd",
                help="the neighbourhood reaches equally far to both sides",
            )
        if not across and param.k != 1:
            warnings.warn(
                f"{self.where}: WITHIN_CHANNEL takes k = 1, as in Caffe, not k = {param.k:g}",
                stacklevel=2,
            )
        k = param.k if across else 1.0
        self.around = lrn.Neighbourhood(param.local_size, across, param.alpha, param.beta, k)

    def reshape(self, bottom, top):
        if len(bottom[0].shape) != 4:
            raise self.shape_error(
                f"bottom is {bottom[0].shape}; it must have 4 axes (N, C, H, W)",
                help="add axes of size 1 with Reshape",
            )
        self.in_place = bottom[0] is top[0]
        top[0].reshape_like(bottom[0])

    def _input(self, bottom):
        return self.workspace("saved", bottom.shape) if self.in_place else bottom.data

    def forward_cpu(self, bottom, top):
        x = self._input(bottom[0])
        if self.in_place:
            x[...] = bottom[0].data
        lrn.forward(x, top[0].data, self.around)

    def backward_cpu(self, top, propagate_down, bottom):
        if propagate_down[0]:
            lrn.backward(self._input(bottom[0]), top[0].diff, bottom[0].diff, self.around)

    def _gpu_input(self, bottom):
        return self.gpu_workspace("saved", bottom.shape) if self.in_place else bottom.gpu_data

    def forward_gpu(self, bottom, top):
        from caffe_spn.cuda import lrn as kernels
        from caffe_spn.cuda.runtime import runtime

        if self.in_place:
            runtime().copy(self._gpu_input(bottom[0]), bottom[0].gpu_data)
        kernels.forward(self._gpu_input(bottom[0]), top[0].new_gpu_data, self.around)

    def backward_gpu(self, top, propagate_down, bottom):
        if not propagate_down[0]:
            return
        from caffe_spn.cuda import lrn as kernels

        x, y_diff = self._gpu_input(bottom[0]), top[0].gpu_diff
        kernels.backward(x, y_diff, bottom[0].new_gpu_diff, self.around)
