"""What layers share that move a kernel over the axes behind the channels: its size and steps.

Source: the first half of `BaseConvolutionLayer::LayerSetUp` of BVLC Caffe, and `Im2colLayer`.
"""

import math

from caffe_spn.cpu.convolution_geometry import Geometry
from caffe_spn.layer import Layer


class MovingKernel(Layer):
    """Base of layers that read kernel, stride, pad and dilation from `convolution_param`.

    Attributes
    ----------
    geometry : Geometry
        Kernel, stride, pad, dilation and groups, one number for each spatial axis.
    channel_axis : int
        The axis of the channels; those before it are independent images.
    bottom_axes, spatial_axes : int
        How many axes the bottom has, and how many of them follow the channels.
    """

    def read_geometry(self, blob) -> None:
        """Set the attributes for bottoms with the axes of `blob`."""
        param = self.layer_param.convolution_param
        self.channel_axis = self.axis(blob, param.axis)
        self.bottom_axes = len(blob.shape)
        self.spatial_axes = self.bottom_axes - self.channel_axis - 1
        kernel = self._axis_numbers("kernel_size", "kernel", None)
        stride = self._axis_numbers("stride", "stride", 1)
        self._check_positive("kernel_size", kernel, "a kernel covers at least 1 element")
        self._check_positive("stride", stride, "the kernel moves by at least 1 element")
        self.geometry = Geometry(
            kernel,
            stride,
            self._axis_numbers("pad", "pad", 0),
            self._axis_numbers("dilation", None, 1),
            param.group,
        )

    def _axis_numbers(self, name: str, planar: str | None, default: int | None):
        """A parameter's number for each spatial axis, from its list or its _h and _w forms."""
        param = self.layer_param.convolution_param
        given, axes = list(getattr(param, name)), self.spatial_axes
        fields = [f"{planar}_h", f"{planar}_w"] if planar else []
        if any(param.HasField(field) for field in fields):
            both = " and ".join(fields)
            if axes != 2:
                raise self.param_error(
                    f"has {both}, which are for 2 spatial axes; its bottom has {axes}",
                    help=f"state {name} once, or once for each spatial axis",
                )
            if given:
                raise self.param_error(
                    f"has both {name} and {both}", help=f"state either {name}, or {both}"
                )
            return tuple(getattr(param, field) for field in fields)
        if len(given) not in (1, axes) and not (default is not None and not given):
            raise self.param_error(
                f"has {name} {len(given)} times for {axes} spatial axes",
                help=f"state {name} once for all axes, or once for each"
                + (", or leave it out" if default is not None else ""),
            )
        if len(given) <= 1:
            return tuple(given or [default]) * axes
        return tuple(given)

    def _check_positive(self, name: str, numbers, help: str) -> None:
        if any(n < 1 for n in numbers):
            raise self.param_error(f"has {name} {numbers}; each must be positive", help=help)

    def check_spatial(self, shape, spatial) -> None:
        """Refuse a bottom of `shape` that would leave nothing of the top."""
        if any(n < 1 for n in spatial):
            raise self.shape_error(
                f"bottom 0 is {shape}: kernel {self.geometry.kernel}, stride"
                f" {self.geometry.stride}, pad {self.geometry.pad} and dilation"
                f" {self.geometry.dilation} would give a top of spatial shape {spatial}",
                help="use a smaller kernel, another pad, or a larger input",
            )

    def images(self, array):
        """The array as (images, channels, ...)."""
        shape = array.shape
        return array.reshape(math.prod(shape[: self.channel_axis]), *shape[self.channel_axis :])
