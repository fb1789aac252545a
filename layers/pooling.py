"""Pooling: summarise the windows of a map by their maximum, mean, or a random pixel.

Source: `PoolingLayer` of BVLC Caffe; for STOCHASTIC: M. Zeiler and R. Fergus, "Stochastic pooling
for regularization of deep convolutional neural networks", 2013.
"""

import numpy as np

from caffe_spn.cpu import pooling
from caffe_spn.layer import Layer, register
from caffe_spn.layers.own_random import OwnRandom
from caffe_spn.proto import caffe_pb2

MAX = caffe_pb2.PoolingParameter.MAX
AVE = caffe_pb2.PoolingParameter.AVE
STOCHASTIC = caffe_pb2.PoolingParameter.STOCHASTIC
FLOOR = caffe_pb2.PoolingParameter.FLOOR
TRAIN = caffe_pb2.TRAIN


@register("Pooling", bottoms=("bottom",), tops=("top", "mask?"), in_place=False)
class Pooling(OwnRandom, Layer):
    """top[n, c, i, j] = max or mean of bottom[n, c] over window (i, j), or one pixel of it, drawn

    Window (i, j) begins in row i stride - pad and column j stride - pad.

    Parameters
    ----------
    pool : {MAX, AVE, STOCHASTIC}, default MAX
        AVE divides by the window's size, padding included. STOCHASTIC draws a pixel with
        probabilities proportional to the pixels in training, and takes the expectation in
        testing; it is for maps without negative values, and without padding.
    kernel_size : int
        The window's height and width.
    kernel_h, kernel_w : int
        Instead of `kernel_size`.
    stride : int, default 1
        From one window to the next.
    stride_h, stride_w : int
        Instead of `stride`.
    pad : int, default 0
        How far the first window hangs over the edge; less than the kernel.
    pad_h, pad_w : int, default 0
        Instead of `pad`.
    global_pooling : bool, default False
        The window is the whole map; no kernel is given then.
    round_mode : {CEIL, FLOOR}, default CEIL
        Whether the last window may hang over the edge.
    engine : accepted and ignored
        There is one implementation.

    Bottoms, tops
    -------------
    bottom : (N, C, H, W)
    top : (N, C, (H + 2 pad - kernel) / stride + 1, ...), rounded as `round_mode` says
    mask : like top; only for MAX. The index of the chosen pixel in its H x W plane.

    Raises
    ------
    PrototxtError
        If the kernel is missing, zero, or given twice, or the padding is as large as the kernel.
    ShapeError
        If the bottom has not four axes, or is smaller than the kernel.

    Notes
    -----
    For the same seed the CPU and a GPU draw other pixels: the CPU draws them one after another, the
    GPU computes each from the seed and the number of the pass (Philox).

    Examples
    --------
    ::

        layer {
          name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
          pooling_param { pool: MAX kernel_size: 3 stride: 2 }
        }
    """

    def setup(self, bottom, top):
        param = self.layer_param.pooling_param
        self.pool = param.pool
        self.is_global = param.global_pooling
        self._check_kernel_fields(param)
        self.kernel = self._pair(param, "kernel", "kernel_size")
        self.stride = self._pair(param, "stride", "stride")
        self.pad = self._pair(param, "pad", "pad")
        if len(top) > 1 and self.pool != MAX:
            raise self.param_error(
                f"has {len(top)} tops; only MAX has a mask to put into a second one",
                help="remove the second top, or use pool: MAX",
            )
        self._check_numbers()
        if self.pool == STOCHASTIC:
            self.start_random()

    def _check_kernel_fields(self, param) -> None:
        size, both = param.HasField("kernel_size"), self._has_both(param, "kernel")
        if self.is_global:
            if size or param.HasField("kernel_h") or param.HasField("kernel_w"):
                raise self.param_error(
                    "has global_pooling and a kernel size; its window is the whole map",
                    help="remove the kernel size, or global_pooling",
                )
        elif size == both:
            raise self.param_error(
                "needs kernel_size, or kernel_h and kernel_w"
                + ("; it has all of them" if size else ""),
                help="state either kernel_size, or both kernel_h and kernel_w",
            )
        for name in ("stride", "pad"):
            both = self._has_both(param, name)
            one = param.HasField(f"{name}_h") or param.HasField(f"{name}_w")
            if one and (param.HasField(name) or not both):
                raise self.param_error(
                    f"needs {name}, or {name}_h and {name}_w",
                    help=f"state either {name}, or both {name}_h and {name}_w",
                )

    @staticmethod
    def _has_both(param, name: str) -> bool:
        return param.HasField(f"{name}_h") and param.HasField(f"{name}_w")

    def _pair(self, param, name: str, square: str) -> tuple[int, int]:
        if self._has_both(param, name) and not param.HasField(square):
            return getattr(param, f"{name}_h"), getattr(param, f"{name}_w")
        return (getattr(param, square),) * 2

    def _check_numbers(self) -> None:
        if not self.is_global and min(self.kernel) < 1:
            raise self.param_error(
                f"has kernel {self.kernel}; it must be positive", help="use kernel_size 1 or more"
            )
        if min(self.stride) < 1:
            raise self.param_error(
                f"has stride {self.stride}; it must be positive", help="use stride 1 or more"
            )
        if self.is_global and (self.pad != (0, 0) or self.stride != (1, 1)):
            raise self.param_error(
                f"has global_pooling with pad {self.pad} and stride {self.stride}",
                help="with global_pooling, leave pad 0 and stride 1",
            )
        if self.pad == (0, 0):
            return
        if self.pool == STOCHASTIC:
            raise self.param_error(
                f"has pool STOCHASTIC with pad {self.pad}; only MAX and AVE can be padded",
                help="remove the padding",
            )
        if any(p >= k for p, k in zip(self.pad, self.kernel, strict=True)):
            raise self.param_error(
                f"has pad {self.pad}, which is not smaller than the kernel, {self.kernel}",
                help="a window must always see a pixel; reduce pad",
            )

    def reshape(self, bottom, top):
        shape = bottom[0].shape
        if len(shape) != 4:
            raise self.shape_error(
                f"bottom is {shape}; it must have 4 axes (N, C, H, W)",
                help="add axes of size 1 with Reshape",
            )
        kernel = shape[2:] if self.is_global else self.kernel
        self.window = pooling.Window(*kernel, *self.stride, *self.pad)
        ceil = self.layer_param.pooling_param.round_mode != FLOOR
        out = self.window.output_shape(*shape[2:], ceil)
        if min(out) < 1:
            raise self.shape_error(
                f"bottom is {shape}; the kernel, {kernel}, is larger than its planes with pad"
                f" {self.pad}",
                help="use a smaller kernel or a larger input",
            )
        for blob in top:
            blob.reshape(*shape[:2], *out)

    def planes(self, array):
        """The array as (planes, H, W)."""
        return array.reshape(-1, *array.shape[2:])

    def mask(self, top):
        return self.planes(self.workspace("mask", top[0].shape, np.int32))

    def forward_cpu(self, bottom, top):
        x, y = self.planes(bottom[0].data), self.planes(top[0].data)
        if self.pool == AVE:
            pooling.average_forward(x, y, self.window)
        elif self.pool == MAX:
            mask = self.mask(top)
            pooling.max_forward(x, y, mask, self.window)
            if len(top) > 1:
                self.planes(top[1].data)[...] = mask
        elif self.phase == TRAIN:
            pooling.stochastic_train(x, y, self.mask(top), self.window, self.rng)
        else:
            pooling.stochastic_test(x, y, self.window)

    def backward_cpu(self, top, propagate_down, bottom):
        if not propagate_down[0]:
            return
        self._refuse_expectation()
        top_diff, bottom_diff = self.planes(top[0].diff), self.planes(bottom[0].diff)
        if self.pool == AVE:
            pooling.average_backward(top_diff, bottom_diff, self.window)
        else:
            pooling.max_backward(top_diff, self.mask(top), bottom_diff)

    def _refuse_expectation(self) -> None:
        if self.pool == STOCHASTIC and self.phase != TRAIN:
            raise self.param_error(
                "has no gradient in the TEST phase with pool STOCHASTIC",
                help="use the TRAIN phase for backward",
            )

    def forward_gpu(self, bottom, top):
        from caffe_spn.cuda import pooling as kernels

        x, y = bottom[0].gpu_data, top[0].new_gpu_data
        if self.pool == AVE:
            kernels.average_forward(x, y, self.window)
        elif self.pool == MAX:
            mask_top = top[1].new_gpu_data if len(top) > 1 else None
            mask = self._gpu_mask(y) if self.needs_backward else None
            kernels.max_forward(x, y, mask, mask_top, self.window)
        elif self.phase == TRAIN:
            draws = self.next_gpu_draws()
            kernels.stochastic_train(x, y, self._gpu_mask(y), draws, self.window)
        else:
            kernels.stochastic_test(x, y, self.window)

    def backward_gpu(self, top, propagate_down, bottom):
        if not propagate_down[0]:
            return
        self._refuse_expectation()
        from caffe_spn.cuda import pooling as kernels

        y_diff, x_diff = top[0].gpu_diff, bottom[0].new_gpu_diff
        if self.pool == AVE:
            kernels.average_backward(y_diff, x_diff, self.window)
        else:
            kernels.max_backward(y_diff, self._gpu_mask(y_diff), x_diff, self.window)

    def _gpu_mask(self, y):
        from caffe_spn.cuda.pooling import mask_dtype

        return self.gpu_workspace("mask", y.shape, mask_dtype(self.window))
