"""Tile: repeat a blob along an axis.

Source: `TileLayer` of BVLC Caffe.
"""

import math

import numpy as np

from caffe_spn.layer import Layer, register


@register("Tile", in_place=False)
class Tile(Layer):
    """The bottom, several times in a row along an axis.

    Parameters
    ----------
    axis : int, default 1
        May count from the back.
    tiles : int
        How many times.

    Bottoms, tops
    -------------
    bottom : any shape
    top : the bottom's shape, with `tiles` times as many elements along `axis`

    Raises
    ------
    PrototxtError
        If `tiles` is missing or not positive.
    ShapeError
        If the axis does not exist.

    Examples
    --------
    One map as three channels::

        layer { name: "rgb" type: "Tile" bottom: "gray" top: "rgb" tile_param { tiles: 3 } }
    """

    def setup(self, bottom, top):
        param = self.layer_param.tile_param
        self.tiles = param.tiles
        if self.tiles < 1:
            found = f"has tiles {self.tiles}" if param.HasField("tiles") else "does not say tiles"
            raise self.param_error(
                f"{found}; it must be positive", help="state how often the bottom is repeated"
            )

    def reshape(self, bottom, top):
        shape = bottom[0].shape
        axis = self.axis(bottom[0], self.layer_param.tile_param.axis)
        self.dims = math.prod(shape[:axis]), 1, math.prod(shape[axis:])
        self.tiled = self.dims[0], self.tiles, self.dims[2]
        top[0].reshape(*shape[:axis], shape[axis] * self.tiles, *shape[axis + 1 :])

    def forward_cpu(self, bottom, top):
        top[0].data.reshape(self.tiled)[...] = bottom[0].data.reshape(self.dims)

    def backward_cpu(self, top, propagate_down, bottom):
        if propagate_down[0]:
            bottom_diff = bottom[0].diff.reshape(self.dims)
            np.sum(top[0].diff.reshape(self.tiled), axis=1, keepdims=True, out=bottom_diff)

    def forward_gpu(self, bottom, top):
        from caffe_spn.cuda import copy

        copy.tile_forward(bottom[0].gpu_data, top[0].new_gpu_data, self.tiles, self.dims[2])

    def backward_gpu(self, top, propagate_down, bottom):
        from caffe_spn.cuda import copy

        if propagate_down[0]:
            diffs = top[0].gpu_diff, bottom[0].new_gpu_diff
            copy.tile_backward(*diffs, self.tiles, self.dims[2])
