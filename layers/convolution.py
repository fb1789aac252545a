"""Convolution: learned filters over the spatial axes.

    top[n, k, p] = bias[k] + sum over c, o of w[k, c, o] bottom[n, c, p stride - pad + o dilation]

Source: `ConvolutionLayer` of BVLC Caffe.
"""

from caffe_spn.layer import register
from caffe_spn.layers.base_convolution import BaseConvolution


@register("Convolution", bottoms=("bottom+",), tops=("top+",), in_place=False)
class Convolution(BaseConvolution):
    """Filters over the spatial axes; every bottom is filtered into a top of its own.

    Parameters
    ----------
    num_output : int
        Channels of the top.
    kernel_size : int, once or for each spatial axis
        How many elements the kernel covers.
    kernel_h, kernel_w : int
        Instead of `kernel_size`, for two spatial axes.
    stride : int, once or for each spatial axis, default 1
        By how much the kernel moves.
    stride_h, stride_w : int
        Instead of `stride`.
    pad : int, once or for each spatial axis, default 0
        Zeros around the bottom, on either side.
    pad_h, pad_w : int, default 0
        Instead of `pad`.
    dilation : int, once or for each spatial axis, default 1
        Distance of the pixels that neighbouring weights see.
    group : int, default 1
        Outputs are shared out to so many groups, each of which sees its share of the channels.
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
    top : (N, num_output, (H + 2 pad - dilation (kernel - 1) - 1) / stride + 1, ...), rounded down

    Blobs
    -----
    weights : (num_output, C / group, kernel ...)
    bias : (num_output,), with `bias_term`

    Raises
    ------
    PrototxtError
        If a list has neither one number nor one for each axis, a kernel or stride is 0,
        num_output is missing, or group does not divide the channels.
    ShapeError
        If the kernel is larger than the padded bottom by a stride or more.

    Examples
    --------
    ::

        layer {
          name: "conv1" type: "Convolution" bottom: "image" top: "conv1"
          param { lr_mult: 1 } param { lr_mult: 2 }
          convolution_param {
            num_output: 16 kernel_size: 3 pad: 1 stride: 2 weight_filler { type: "msra" }
          }
        }
    """

    def weight_channels(self):
        return self.outputs, self.channels

    def output_spatial(self, spatial):
        return self.geometry.output_shape(spatial)

    # The net's forward is the convolution itself, its backward to data the transposed one.
    along, against = "forward", "backward_data"

    def in_order(self, x, top_diff):
        return top_diff, x
