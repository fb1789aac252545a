"""What Convolution and Deconvolution share: their parameters, blobs and checks.

Source: `BaseConvolutionLayer` of BVLC Caffe.
"""

import math

from caffe_spn.cpu import convolution
from caffe_spn.layers.moving_kernel import MovingKernel
from caffe_spn.proto.caffe_pb2 import ConvolutionParameter


class BaseConvolution(MovingKernel):
    """Learned weights under a kernel that moves over any number of spatial axes.

    Attributes
    ----------
    along, against : str
        The pass from bottom to top and its adjoint, functions of `caffe_spn.cpu.convolution` and
        `caffe_spn.cuda.convolution`; a subclass names them.
    """

    along: str
    against: str

    def setup(self, bottom, top):
        param = self.layer_param.convolution_param
        self.cudnn = param.engine != ConvolutionParameter.CAFFE
        self.read_geometry(bottom[0])
        self._check_channels(bottom[0].shape[self.channel_axis], param)
        self._make_blobs(param)

    def weight_channels(self) -> tuple[int, int]:
        """The first two axes of the weights before grouping: (reads or makes, the other)."""
        raise NotImplementedError

    def in_order(self, x, top_diff) -> tuple:
        """The bottom and the top's diff as (y_diff, x) of the convolution."""
        raise NotImplementedError

    def output_spatial(self, spatial) -> tuple[int, ...]:
        """The spatial shape of a top."""
        raise NotImplementedError

    def _check_channels(self, channels: int, param) -> None:
        self.channels, self.outputs = channels, param.num_output
        if self.outputs < 1:
            raise self.param_error(
                "has num_output 0; it must be positive", help="state num_output, the top's channels"
            )
        for name, count in (("bottom's channels", channels), ("num_output", self.outputs)):
            if param.group < 1 or count % param.group:
                raise self.param_error(
                    f"has group {param.group}, which does not divide its {name}, {count}",
                    help="group must divide both the bottom's channels and num_output",
                )

    def _make_blobs(self, param) -> None:
        first, second = self.weight_channels()
        shapes = [(first, second // param.group, *self.geometry.kernel)]
        fillers = [param.weight_filler]
        if param.bias_term:
            shapes.append((self.outputs,))
            fillers.append(param.bias_filler)
        self.has_bias = param.bias_term
        if not self.blobs:
            for shape, filler in zip(shapes, fillers, strict=True):
                self.add_param(shape, filler)
        elif [blob.shape for blob in self.blobs] != shapes:
            raise self.shape_error(
                f"was given blobs of shapes {[blob.shape for blob in self.blobs]}; its parameters"
                f" ask for {shapes}",
                help="compare num_output, group, kernel_size and bias_term",
            )

    def reshape(self, bottom, top):
        if len(bottom) != len(top):
            raise self.param_error(
                f"has {len(bottom)} bottom(s) and {len(top)} top(s); it needs one top for each",
                help="name as many tops as bottoms",
            )
        shape, axis = bottom[0].shape, self.channel_axis
        if len(shape) != self.bottom_axes or shape[axis] != self.channels:
            raise self.shape_error(
                f"bottom 0 is {shape}; its weights were made for {self.bottom_axes} axes and"
                f" {self.channels} channels (axis {axis})",
                help="reshape only the batch and the spatial axes",
            )
        for i, other in enumerate(bottom):
            if other.shape != shape:
                raise self.shape_error(
                    f"bottom {i} is {other.shape}; it must have the shape of bottom 0, {shape}",
                    help="use a second layer with shared parameters (param { name })",
                )
        spatial = self.output_spatial(shape[axis + 1 :])
        self.check_spatial(shape, spatial)
        for blob in top:
            blob.reshape(*shape[:axis], self.outputs, *spatial)

    # On the CPU

    def forward_cpu(self, bottom, top):
        along = getattr(convolution, self.along)
        weights = self.blobs[0].data
        bias = self.blobs[1].data if self.has_bias else None
        for x, y in zip(bottom, top, strict=True):
            along(self.images(x.data), weights, bias, self.images(y.data), self.geometry)

    def backward_cpu(self, top, propagate_down, bottom):
        against = getattr(convolution, self.against)
        weights = self.blobs[0].data
        for x, y, wanted in zip(bottom, top, propagate_down, strict=True):
            top_diff = self.images(y.diff)
            if self.has_bias and self.param_propagate_down[1]:
                convolution.backward_bias(top_diff, self.blobs[1].diff)
            if self.param_propagate_down[0]:
                pair = self.in_order(self.images(x.data), top_diff)
                convolution.backward_weights(*pair, self.blobs[0].diff, self.geometry)
            if wanted:
                against(top_diff, weights, None, self.images(x.diff), self.geometry)

    # On a GPU

    def forward_gpu(self, bottom, top):
        from caffe_spn.cuda import convolution

        if self.spatial_axes > convolution.MOST_AXES:
            super().forward_gpu(bottom, top)
            return
        along = getattr(convolution, self.along)
        weights = self.blobs[0].gpu_data
        bias = self.blobs[1].gpu_data if self.has_bias else None
        how = self.geometry, self.cudnn
        for x, y in zip(bottom, top, strict=True):
            along(self._on_device(x.gpu_data), weights, bias, self._on_device(y.new_gpu_data), *how)

    def backward_gpu(self, top, propagate_down, bottom):
        from caffe_spn.cuda import convolution

        if self.spatial_axes > convolution.MOST_AXES:
            super().backward_gpu(top, propagate_down, bottom)
            return
        against = getattr(convolution, self.against)
        weights = self.blobs[0].gpu_data
        how = self.geometry, self.cudnn
        for x, y, wanted in zip(bottom, top, propagate_down, strict=True):
            top_diff = self._on_device(y.gpu_diff)
            if self.has_bias and self.param_propagate_down[1]:
                convolution.backward_bias(top_diff, self.blobs[1].mutable_gpu_diff)
            if self.param_propagate_down[0]:
                pair = self.in_order(self._on_device(x.gpu_data), top_diff)
                convolution.backward_weights(*pair, self.blobs[0].mutable_gpu_diff, *how)
            if wanted:
                against(top_diff, weights, None, self._on_device(x.new_gpu_diff), *how)

    def _on_device(self, array):
        """As `images`, for a DeviceArray."""
        shape, axis = array.shape, self.channel_axis
        return array.reshaped(math.prod(shape[:axis]), *shape[axis:])
