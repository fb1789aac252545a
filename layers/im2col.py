"""Im2col: the pixels under a convolution's kernel, one column for each of its positions.

Source: `Im2colLayer` of BVLC Caffe.
"""

import itertools
import math

from caffe_spn.layer import register
from caffe_spn.layers.moving_kernel import MovingKernel


def taps(geometry, spatial, out):
    """For each offset in the kernel: which outputs see a pixel of the map through it, and which.

    Yields
    ------
    outputs, pixels : tuple of slice
        One slice for each spatial axis. What `outputs` leave out sees the padding.
    """
    axes = list(zip(geometry.stride, geometry.pad, geometry.dilation, spatial, out, strict=True))
    for offset in itertools.product(*map(range, geometry.kernel)):
        outputs, pixels = [], []
        for o, (stride, pad, dilation, size, positions) in zip(offset, axes, strict=True):
            shift = o * dilation - pad  # output q sees pixel q * stride + shift
            first = max(0, -(shift // stride))
            last = max(first, min(positions, (size - 1 - shift) // stride + 1))
            outputs.append(slice(first, last))
            start = first * stride + shift
            pixels.append(slice(start, start + (last - first) * stride, stride))
        yield tuple(outputs), tuple(pixels)


def im2col(x, columns, geometry):
    """columns[n, c, o, q] = x[n, c, q stride - pad + o dilation], 0 outside the map.

    Parameters
    ----------
    x : (N, C, ...)
    columns : (N, C, offsets in the kernel, ...)
        All of it is written.
    """
    columns.fill(0)
    for o, (outputs, pixels) in enumerate(taps(geometry, x.shape[2:], columns.shape[3:])):
        columns[(slice(None), slice(None), o, *outputs)] = x[(..., *pixels)]


def col2im(columns, x, geometry):
    """The adjoint of `im2col`: x = the sum of the columns' elements at their pixels."""
    x.fill(0)
    for o, (outputs, pixels) in enumerate(taps(geometry, x.shape[2:], columns.shape[3:])):
        x[(..., *pixels)] += columns[(slice(None), slice(None), o, *outputs)]


@register("Im2col", in_place=False)
class Im2col(MovingKernel):
    """top[n, c * kernel + o, q] = bottom[n, c, q stride - pad + o dilation]; padding is 0

    For a map with two spatial axes o counts the kernel's elements row by row, and q the positions;
    a product with the weights (num_output, C * kernel) would be the convolution.

    Parameters (`convolution_param`)
    --------------------------------
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
        Distance of the pixels that neighbouring elements of the kernel see.
    axis : int, default 1
        The axis of the channels; the spatial axes follow it. May count from the back.
    force_nd_im2col : accepted and ignored
        One implementation serves any number of axes.
    num_output, group, bias_term, weight_filler, bias_filler, engine : accepted and ignored
        They belong to a convolution, whose parameters may be copied here as they are.

    Bottoms, tops
    -------------
    bottom : (N, C, H, W), or with any number of spatial axes from 1 on
    top : (N, C kernel, (H + 2 pad - dilation (kernel - 1) - 1) / stride + 1, ...), rounded down
        C kernel is C times the number of elements of the kernel.

    Raises
    ------
    PrototxtError
        If a list has neither one number nor one for each axis, or a kernel or stride is 0.
    ShapeError
        If there is no spatial axis, the number of axes changes, or the kernel is larger than the
        padded bottom by a stride or more.

    Examples
    --------
    Patches of 3x3 pixels, two apart::

        layer {
          name: "patches" type: "Im2col" bottom: "x" top: "y"
          convolution_param { kernel_size: 3 stride: 2 }
        }
    """

    def setup(self, bottom, top):
        channel_axis = self.axis(bottom[0], self.layer_param.convolution_param.axis)
        if channel_axis == len(bottom[0].shape) - 1:
            raise self.shape_error(
                f"bottom is {bottom[0].shape}, which has no spatial axes behind the channels"
                f" (axis {channel_axis})",
                help="it needs at least one; see axis",
            )
        self.read_geometry(bottom[0])

    def reshape(self, bottom, top):
        shape, axis = bottom[0].shape, self.channel_axis
        if len(shape) != self.bottom_axes:
            raise self.shape_error(
                f"bottom is {shape}; it was set up for {self.bottom_axes} axes",
                help="keep the number of axes",
            )
        spatial = self.geometry.output_shape(shape[axis + 1 :])
        self.check_spatial(shape, spatial)
        self.offsets = math.prod(self.geometry.kernel)
        top[0].reshape(*shape[:axis], shape[axis] * self.offsets, *spatial)

    def columns(self, array):
        """A top's array as (images, channels, offsets, ...)."""
        images = self.images(array)
        channels = images.shape[1] // self.offsets
        return images.reshape(len(images), channels, self.offsets, *images.shape[2:])

    def forward_cpu(self, bottom, top):
        im2col(self.images(bottom[0].data), self.columns(top[0].data), self.geometry)

    def backward_cpu(self, top, propagate_down, bottom):
        if propagate_down[0]:
            col2im(self.columns(top[0].diff), self.images(bottom[0].diff), self.geometry)

    def forward_gpu(self, bottom, top):
        from caffe_spn.cuda import im2col as gpu

        if self.spatial_axes > gpu.MOST_AXES:
            super().forward_gpu(bottom, top)
            return
        for pair in self._pairs(bottom[0].gpu_data, top[0].new_gpu_data):
            gpu.im2col(*pair)

    def backward_gpu(self, top, propagate_down, bottom):
        from caffe_spn.cuda import im2col as gpu

        if self.spatial_axes > gpu.MOST_AXES:
            super().backward_gpu(top, propagate_down, bottom)
            return
        if propagate_down[0]:
            for x, columns, window in self._pairs(bottom[0].new_gpu_diff, top[0].gpu_diff):
                gpu.col2im(columns, x, window)

    def _pairs(self, x, columns):
        """Each image, its columns as a matrix, and where the kernel stands: on the device."""
        from caffe_spn.cuda.im2col import Window

        axis = self.channel_axis
        shape, out = x.shape[axis:], columns.shape[axis + 1 :]
        window = Window(self.geometry, shape[1:], out)
        rows = shape[0] * self.offsets
        for n in range(math.prod(x.shape[:axis])):
            image = x.part(n * math.prod(shape), (1, *shape))
            step = rows * window.positions
            yield image, columns.part(n * step, (rows, window.positions)), window
