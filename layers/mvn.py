"""MVN: give every map mean 0 and variance 1.

    top = (bottom - mean) / (sqrt(variance) + eps)

Source: `MVNLayer` of BVLC Caffe.
"""

import math

import numpy as np

from caffe_spn.layer import Layer, register


def row_means(x, out):
    """out = the mean of each row of x, as (rows, 1).

    Added up in float64: the mean of a constant row must be that constant, since what is left of it
    would be divided by a deviation that is no larger.
    """
    out[...] = np.sum(x, axis=1, keepdims=True, dtype=np.float64) / max(1, x.shape[1])


@register("MVN")
class MVN(Layer):
    """Normalise each map of each example, or each example as a whole.

    Parameters
    ----------
    across_channels : bool, default False
        Mean and variance of all channels together, in place of one of each channel.
    normalize_variance : bool, default True
        False subtracts the mean only.
    eps : float, default 1e-9
        Added to the standard deviation.

    Bottoms, tops
    -------------
    bottom : (N, C, H, W); axes behind may be missing
    top : (N, C, H, W), always with four axes; may be the bottom

    Raises
    ------
    ShapeError
        If the bottom has more than four axes.

    Notes
    -----
    The gradient is Caffe's, which leaves out a factor (1 + eps / deviation) of one of its terms:
    with an `eps` that is not small beside the deviation it is not quite the derivative. In
    place, where Caffe's gradient is wrong, it is that of a separate top.

    Examples
    --------
    Subtract the mean of each image::

        layer {
          name: "center" type: "MVN" bottom: "data" top: "y"
          mvn_param { across_channels: true normalize_variance: false }
        }
    """

    def setup(self, bottom, top):
        self.param = self.layer_param.mvn_param

    def reshape(self, bottom, top):
        shape = bottom[0].shape
        if len(shape) > 4:
            raise self.shape_error(
                f"bottom is {shape}; it must have at most 4 axes (N, C, H, W)",
                help="join axes with a Reshape layer",
            )
        shape += (1,) * (4 - len(shape))
        own_axes = 1 if self.param.across_channels else 2
        self.dims = math.prod(shape[:own_axes]), math.prod(shape[own_axes:])
        top[0].reshape(*shape)

    def _rows(self, *arrays):
        return (array.reshape(self.dims) for array in arrays)

    def _per_row(self, name: str):
        return self.workspace(name, (self.dims[0], 1))

    def forward_cpu(self, bottom, top):
        x, y = self._rows(bottom[0].data, top[0].data)
        mean = self._per_row("mean")
        row_means(x, mean)
        np.subtract(x, mean, out=y)
        if self.param.normalize_variance:
            squares = np.square(y, out=self.workspace("scratch", self.dims))
            deviation = self._per_row("deviation")
            row_means(squares, deviation)
            np.sqrt(deviation, out=deviation)
            deviation += self.param.eps
            with np.errstate(divide="ignore", invalid="ignore"):
                y /= deviation

    def backward_cpu(self, top, propagate_down, bottom):
        if not propagate_down[0]:
            return
        y, top_diff, bottom_diff = self._rows(top[0].data, top[0].diff, bottom[0].diff)
        mean = self._per_row("mean")
        if not self.param.normalize_variance:
            row_means(top_diff, mean)
            np.subtract(top_diff, mean, out=bottom_diff)
            return
        scratch = np.multiply(y, top_diff, out=self.workspace("scratch", self.dims))
        row_means(scratch, mean)
        np.multiply(y, mean, out=scratch)
        row_means(top_diff, mean)
        scratch += mean
        np.subtract(top_diff, scratch, out=bottom_diff)
        with np.errstate(divide="ignore", invalid="ignore"):
            bottom_diff /= self._per_row("deviation")

    def forward_gpu(self, bottom, top):
        from caffe_spn.cuda import batch_norm as kernels

        x, y = bottom[0].gpu_data, top[0].new_gpu_data
        dims, mean, factor = self._gpu_rows()
        kernels.statistics(x, dims, self.param.eps, mean, factor, eps_outside=True)
        if not self.param.normalize_variance:
            factor = None
        kernels.normalize(x, dims, mean, factor, y)

    def backward_gpu(self, top, propagate_down, bottom):
        if not propagate_down[0]:
            return
        from caffe_spn.cuda import batch_norm as kernels

        y, y_diff, x_diff = top[0].gpu_data, top[0].gpu_diff, bottom[0].new_gpu_diff
        dims, _, factor = self._gpu_rows()
        if not self.param.normalize_variance:
            y = factor = None
        kernels.backward(y_diff, dims, y, None, None, factor, x_diff)

    def _gpu_rows(self):
        """The rows as channels of one example; their means, and what they are multiplied by."""
        rows, length = self.dims
        numbers = [self.gpu_workspace(name, (rows,)) for name in ("mean", "factor")]
        return (1, rows, length), *numbers
