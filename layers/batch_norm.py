"""BatchNorm: give every channel mean 0 and variance 1 over the batch.

    top = (bottom - mean) / sqrt(variance + eps)

Source: `BatchNormLayer` of BVLC Caffe; S. Ioffe and C. Szegedy, "Batch normalization", 2015.
"""

import math

import numpy as np

from caffe_spn.cpu import batch_norm
from caffe_spn.layer import Layer, register
from caffe_spn.proto import caffe_pb2


@register("BatchNorm")
class BatchNorm(Layer):
    """Normalise channels; a `Scale` layer with `bias_term` after it learns scale and shift.

    Parameters
    ----------
    use_global_stats : bool, default true in the TEST phase, false in TRAIN
        Use the running averages in place of the batch's own statistics.
    moving_average_fraction : float, default 0.999
        How much of a running sum is kept at each forward pass.
    eps : float, default 1e-5
        Keeps the division finite where the variance is 0.

    Bottoms, tops
    -------------
    bottom, top : (N, C, ...); may be the same blob

    Blobs
    -----
    mean, variance : (C,)
        Running sums; divided by the third blob they are the averages.
    weight : (1,)
        The running sum of ones. Forward updates these three; the solver must not (lr_mult 0).

    Raises
    ------
    PrototxtError
        If a `param` gives a learning rate other than 0.
    ShapeError
        If the number of channels changes.

    Examples
    --------
    ::

        layer { name: "bn1" type: "BatchNorm" bottom: "conv1" top: "bn1" }
        layer {
          name: "scale1" type: "Scale" bottom: "bn1" top: "bn1"
          scale_param { bias_term: true }
        }
    """

    _fresh_output = None

    def setup(self, bottom, top):
        param = self.layer_param.batch_norm_param
        self.use_global = self.phase == caffe_pb2.TEST
        if param.HasField("use_global_stats"):
            self.use_global = param.use_global_stats
        self.fraction, self.eps = param.moving_average_fraction, param.eps
        self.channels = self._channels(bottom[0].shape)
        if not self.blobs:
            for shape in ((self.channels,), (self.channels,), (1,)):
                self.add_param(shape)
        self._refuse_learning()

    def _refuse_learning(self) -> None:
        specs = self.layer_param.param
        for i in range(len(self.blobs)):
            if i == len(specs):
                specs.add(lr_mult=0)
            elif specs[i].lr_mult != 0:
                raise self.param_error(
                    f"has lr_mult {specs[i].lr_mult:g} for blob {i}; its running statistics are"
                    " not learned by the solver",
                    help="use lr_mult: 0 or no param at all; a Scale layer after this one learns"
                    " scale and shift",
                )

    @staticmethod
    def _channels(shape) -> int:
        return shape[1] if len(shape) > 1 else 1

    def reshape(self, bottom, top):
        shape = bottom[0].shape
        if not shape or self._channels(shape) != self.channels:
            raise self.shape_error(
                f"bottom is {shape}; it must have the {self.channels} channels (axis 1) that the"
                " statistics are for",
                help="reshape only the batch and the spatial axes",
            )
        top[0].reshape(*shape)
        self.dims = (shape[0], self.channels, math.prod(shape[2:]))

    def _statistic(self, name: str):
        return self.workspace(name, (self.channels,))

    def forward_cpu(self, bottom, top):
        x, y = (blob.data.reshape(self.dims) for blob in (bottom[0], top[0]))
        mean, variance = self._statistic("mean"), self._statistic("variance")
        if self.use_global:
            weight = self.blobs[2].data[0]
            scale = 0 if weight == 0 else 1 / weight
            np.multiply(self.blobs[0].data, scale, out=mean)
            np.multiply(self.blobs[1].data, scale, out=variance)
            batch_norm.normalize(x, mean, variance, self.eps, y)
            return
        batch_norm.forward(x, self.eps, y, self.workspace("saved", self.dims), mean, variance)
        self._update_averages(mean, variance)

    def _update_averages(self, mean, variance) -> None:
        count = self.dims[0] * self.dims[2]
        correction = count / (count - 1) if count > 1 else 1
        for blob, value in zip(self.blobs, (mean, correction * variance, 1), strict=True):
            blob.data[...] = self.fraction * blob.data + value

    def backward_cpu(self, top, propagate_down, bottom):
        if not propagate_down[0]:
            return
        top_diff, bottom_diff = (blob.diff.reshape(self.dims) for blob in (top[0], bottom[0]))
        variance = self._statistic("variance")
        if self.use_global:
            factor = batch_norm.inverse_deviation(variance, self.eps)
            np.multiply(top_diff, factor[:, None], out=bottom_diff)
        else:
            saved = self.workspace("saved", self.dims)
            batch_norm.backward(top_diff, saved, variance, self.eps, bottom_diff)

    def forward_gpu(self, bottom, top):
        from caffe_spn.cuda import batch_norm as kernels

        x, y, kept = bottom[0].gpu_data, top[0].new_gpu_data, None
        self._fresh_output = None
        mean, factor = self._gpu_statistics()
        if self.use_global:
            running = kernels.Running(*(b.gpu_data for b in self.blobs), self.fraction)
            kernels.running_statistics(running, self.eps, mean, factor)
        else:
            running = kernels.Running(*(b.mutable_gpu_data for b in self.blobs), self.fraction)
            kernels.statistics(x, self.dims, self.eps, mean, factor, running)
            if bottom[0] is top[0] and self.needs_backward:
                # Not the input, so that a Scale layer behind this one can use it, too.
                self._fresh_output = kept = self.gpu_workspace("output", x.shape)
        kernels.normalize(x, self.dims, mean, factor, y, kept)

    def backward_gpu(self, top, propagate_down, bottom):
        if not propagate_down[0]:
            return
        from caffe_spn.cuda import batch_norm as kernels

        mean, factor = self._gpu_statistics()
        y_diff, x_diff = top[0].gpu_diff, bottom[0].new_gpu_diff
        if self.use_global:
            kernels.normalize(y_diff, self.dims, None, factor, x_diff)
            return
        if bottom[0] is top[0]:
            output = self.gpu_workspace("output", x_diff.shape)
            kernels.backward(y_diff, self.dims, output, None, None, factor, x_diff)
        else:
            x = bottom[0].gpu_data
            kernels.backward(y_diff, self.dims, x, mean, factor, factor, x_diff)

    def gpu_kept_output(self):
        output, self._fresh_output = self._fresh_output, None
        return output

    def _gpu_statistics(self):
        """The mean of each channel, and what differences from it are multiplied by."""
        return [self.gpu_workspace(name, (self.channels,)) for name in ("mean", "factor")]
