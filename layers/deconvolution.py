"""Deconvolution: the transposed convolution, which spreads every pixel by a learned kernel.

    top[n, k, p stride - pad + o dilation] += w[c, k, o] bottom[n, c, p]     for all c, p, o

With one channel a group and bilinear weights it samples up; networks use kernel 4, stride 2,
pad 1 and group = num_output to double a map.

Source: `DeconvolutionLayer` of BVLC Caffe.
"""

from caffe_spn.cpu import convolution
from caffe_spn.layer import register
from caffe_spn.layers.base_convolution import BaseConvolution


@register("Deconvolution", bottoms=("bottom+",), tops=("top+",), in_place=False)
class Deconvolution(BaseConvolution):
    """Convolution with forward and backward exchanged; every bottom gets a top of its own.

    Parameters
    ----------
    convolution_param
        As for `Convolution`; stride and pad refer to the top.

    Bottoms, tops
    -------------
    bottom : (N, C, H, W), or with any number of spatial axes; all of one shape
    top : (N, num_output, stride (H - 1) + dilation (kernel - 1) + 1 - 2 pad, ...)

    Blobs
    -----
    weights : (C, num_output / group, kernel ...)
    bias : (num_output,), with `bias_term`

    Raises
    ------
    PrototxtError
        As for `Convolution`.
    ShapeError
        If padding removes all of the top.

    Examples
    --------
    Sample 32 channels up by 2::

        convolution_param {
          num_output: 32 group: 32 kernel_size: 4 stride: 2 pad: 1 bias_term: false
          weight_filler { type: "bilinear" }
        }
    """

    def weight_channels(self):
        return self.channels, self.outputs

    def output_spatial(self, spatial):
        return self.geometry.transposed_shape(spatial)

    def forward_cpu(self, bottom, top):
        weights = self.blobs[0].data
        for x, y in zip(bottom, top, strict=True):
            convolution.backward_data(
                self.images(x.data), weights, self.bias(), self.images(y.data), self.geometry
            )

    def backward_cpu(self, top, propagate_down, bottom):
        for x, y, wanted in zip(bottom, top, propagate_down, strict=True):
            top_diff = self.images(y.diff)
            if self.has_bias and self.param_propagate_down[1]:
                convolution.backward_bias(top_diff, self.blobs[1].diff)
            if self.param_propagate_down[0]:
                convolution.backward_weights(
                    self.images(x.data), top_diff, self.blobs[0].diff, self.geometry
                )
            if wanted:
                convolution.forward(
                    top_diff, self.blobs[0].data, None, self.images(x.diff), self.geometry
                )
