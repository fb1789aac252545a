"""Deconvolution: the transposed convolution, which spreads every pixel by a learned kernel.

    top[n, k, p stride - pad + o dilation] += w[c, k, o] bottom[n, c, p]     for all c, p, o

With one channel a group and bilinear weights it samples up; networks use kernel 4, stride 2,
pad 1 and group = num_output to double a map.

Source: `DeconvolutionLayer` of BVLC Caffe.
"""

from caffe_spn.layer import register
from caffe_spn.layers.base_convolution import BaseConvolution


@register("Deconvolution", bottoms=("bottom+",), tops=("top+",), in_place=False)
class Deconvolution(BaseConvolution):
    """Convolution with forward and backward exchanged; every bottom gets a top of its own.

    Parameters (`convolution_param`)
    --------------------------------
    num_output : int
        Channels of the top.
    kernel_size : int, once or for each spatial axis
        How many elements the kernel covers.
    kernel_h, kernel_w : int
        Instead of `kernel_size`, for two spatial axes.
    stride : int, once or for each spatial axis, default 1
        The distance of neighbouring pixels of the bottom in the top.
    stride_h, stride_w : int
        Instead of `stride`.
    pad : int, once or for each spatial axis, default 0
        How much is cut off the top, on either side.
    pad_h, pad_w : int, default 0
        Instead of `pad`.
    dilation : int, once or for each spatial axis, default 1
        Distance of the pixels that neighbouring weights write.
    group : int, default 1
        Inputs are shared out to so many groups, each of which makes its share of the channels.
    bias_term : bool, default True
        Whether a number for each output is learned and added.
    axis : int, default 1
        The axis of the channels; the spatial axes follow it. May count from the back.
    weight_filler, bias_filler : FillerParameter, default constant 0
        What weights and biases start from.
    force_nd_im2col : accepted and ignored
        There is one implementation for any number of axes.
    engine : {DEFAULT, CAFFE, CUDNN}, default DEFAULT
        On a GPU, CAFFE does without cuDNN: im2col and products of matrices. On the CPU all are the
        same.

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
    Sample 21 channels up by 2, with weights that are not learned::

        layer {
          name: "up" type: "Deconvolution" bottom: "score" top: "up" param { lr_mult: 0 }
          convolution_param {
            num_output: 21 group: 21 kernel_size: 4 stride: 2 pad: 1 bias_term: false
            weight_filler { type: "bilinear" }
          }
        }
    """

    def weight_channels(self):
        return self.channels, self.outputs

    def output_spatial(self, spatial):
        return self.geometry.transposed_shape(spatial)

    # A convolution with the two passes exchanged, so that top and bottom change roles.
    along, against = "backward_data", "forward"

    def in_order(self, x, top_diff):
        return x, top_diff
