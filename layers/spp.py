"""SPP: spatial pyramid pooling, which gives images of any size a vector of one length.

Source: `SPPLayer` of BVLC Caffe; K. He et al., "Spatial pyramid pooling in deep convolutional
networks for visual recognition", 2014.
"""

import numpy as np

from caffe_spn.blob import Blob
from caffe_spn.layer import Layer, register
from caffe_spn.layers.own_random import OwnRandom
from caffe_spn.layers.pooling import Pooling
from caffe_spn.proto import caffe_pb2

STOCHASTIC = caffe_pb2.SPPParameter.STOCHASTIC


def bin_sizes(size: int, bins: int) -> tuple[int, int]:
    """The kernel (and stride) that divides `size` pixels into `bins`, and its padding."""
    kernel = -(-size // bins)
    return kernel, (kernel * bins - size + 1) // 2


@register("SPP", in_place=False)
class SPP(OwnRandom, Layer):
    """Pools into 1 x 1, 2 x 2, 4 x 4, ... bins, and joins all of them into one vector.

    Parameters
    ----------
    pyramid_height : int
        How many levels there are; level l has 2^l x 2^l bins.
    pool : {MAX, AVE, STOCHASTIC}, default MAX
        As in Pooling; so for the same seed STOCHASTIC draws other pixels on a GPU.
    engine : accepted and ignored
        There is one implementation.

    Bottoms, tops
    -------------
    bottom : (N, C, H, W)
    top : (N, C * (1 + 4 + ... + 4^(pyramid_height - 1))), or (N, C, 1, 1) if the height is 1
        Level by level; in each, the bins of channel 0, then those of channel 1, and so on.

    Raises
    ------
    PrototxtError
        If the height is not given.
    ShapeError
        If the bottom has not four axes, or a level has so many bins for its height or width that
        one would hold no pixel; Caffe refuses some of these maps too (5 pixels in 4 bins).

    Notes
    -----
    The bins of a level are of equal size, and padding makes up for the rest: AVE counts it as
    zeros, and STOCHASTIC, which knows no padding, needs sizes that the bins divide.

    Examples
    --------
    ::

        layer {
          name: "pyramid"
          type: "SPP"
          bottom: "conv5"
          top: "pyramid"
          spp_param { pool: MAX pyramid_height: 3 }
        }
    """

    def setup(self, bottom, top):
        self.height = self.layer_param.spp_param.pyramid_height
        if self.height < 1:
            raise self.param_error(
                f"has pyramid_height {self.height}; it must be at least 1",
                help="state spp_param { pyramid_height: ... }",
            )
        if self.layer_param.spp_param.pool == STOCHASTIC:
            self.start_random()
        self.shape = None

    def reshape(self, bottom, top):
        shape = bottom[0].shape
        if len(shape) != 4 or 0 in shape:
            raise self.shape_error(
                f"bottom is {shape}; it must have 4 axes (N, C, H, W), none of them empty",
                help="add axes of size 1 with Reshape",
            )
        if shape != self.shape:
            self.shape = shape
            self.levels = [self._level(2**i) for i in range(self.height)]
            self.pooled = [Blob((), self.dtype) for _ in self.levels]
            self.source = Blob(shape, self.dtype)
            for level, blob in zip(self.levels, self.pooled, strict=True):
                level.setup([bottom[0]], [blob])
                level.reshape([bottom[0]], [blob])
                # The levels come and go with the shape; the generator's state must outlive them.
                level.rng = self.rng
        if self.height == 1:
            top[0].reshape_like(self.pooled[0])
        else:
            top[0].reshape(shape[0], sum(blob.count for blob in self.pooled) // shape[0])

    def _level(self, bins: int) -> Pooling:
        """The pooling layer of one level."""
        height, width = self.shape[2:]
        (kernel_h, pad_h), (kernel_w, pad_w) = bin_sizes(height, bins), bin_sizes(width, bins)
        if pad_h >= kernel_h or pad_w >= kernel_w:
            raise self.shape_error(
                f"bottom is {self.shape}; {bins} x {bins} bins need {kernel_h} x {kernel_w} pixels"
                f" each and a padding of {pad_h} and {pad_w}, so that one would lie in the padding",
                help="use a smaller pyramid_height, or a larger input",
            )
        pool = self.layer_param.spp_param.pool
        if pool == STOCHASTIC and (pad_h or pad_w):
            raise self.shape_error(
                f"bottom is {self.shape}; pool STOCHASTIC cannot be padded, and {bins} x {bins}"
                " bins do not divide it",
                help="use an input of a height and width that the bins divide, or pool: MAX",
            )
        param = caffe_pb2.LayerParameter(name=self.layer_param.name, phase=self.phase)
        param.pooling_param.MergeFrom(
            caffe_pb2.PoolingParameter(
                pool=pool,
                kernel_h=kernel_h,
                kernel_w=kernel_w,
                stride_h=kernel_h,
                stride_w=kernel_w,
                pad_h=pad_h,
                pad_w=pad_w,
            )
        )
        return Pooling(param, self.phase, self.dtype)

    def _parts(self, array):
        """The part of each level in the top's data or diff, as (N, C * bins)."""
        return np.split(array.reshape(self.shape[0], -1), np.cumsum(self._sizes())[:-1], axis=1)

    def _sizes(self) -> list[int]:
        """How many numbers of an example each level makes."""
        return [blob.count // self.shape[0] for blob in self.pooled]

    def forward_cpu(self, bottom, top):
        for level, blob, part in zip(
            self.levels, self.pooled, self._parts(top[0].data), strict=True
        ):
            level.forward_cpu(bottom, [blob])
            part[...] = blob.data.reshape(part.shape)

    def backward_cpu(self, top, propagate_down, bottom):
        if not propagate_down[0]:
            return
        # Each level overwrites the diff of its bottom; they are added up here.
        source = self.source
        source.share_data(bottom[0])
        for i, (level, blob, part) in enumerate(
            zip(self.levels, self.pooled, self._parts(top[0].diff), strict=True)
        ):
            blob.diff[...] = part.reshape(blob.shape)
            target = bottom[0] if i == 0 else source
            level.backward_cpu([blob], [True], [target])
            if i > 0:
                bottom[0].diff[...] += source.diff

    def forward_gpu(self, bottom, top):
        from caffe_spn.cuda import copy

        for level, blob in zip(self.levels, self.pooled, strict=True):
            level.needs_backward = self.needs_backward
            # Levels that draw count their passes together: no two draw the same, and a snapshot
            # keeps the count.
            level.draws = self.draws
            level.forward_gpu(bottom, [blob])
            self.draws = level.draws
        sizes = self._sizes()
        whole = top[0].new_gpu_data.reshaped(self.shape[0], sum(sizes))
        copy.join([blob.gpu_data for blob in self.pooled], whole, sizes, 1)

    def backward_gpu(self, top, propagate_down, bottom):
        if not propagate_down[0]:
            return
        from caffe_spn.cuda import copy

        sizes, source = self._sizes(), self.source
        whole = top[0].gpu_diff.reshaped(self.shape[0], sum(sizes))
        copy.cut(whole, [blob.new_gpu_diff for blob in self.pooled], sizes, 1)
        source.share_data(bottom[0])
        for i, (level, blob) in enumerate(zip(self.levels, self.pooled, strict=True)):
            level.backward_gpu([blob], [True], [source if i else bottom[0]])
            if i:
                total = bottom[0].mutable_gpu_diff
                copy.add_up([total, source.gpu_diff], total)
