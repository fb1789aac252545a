"""ROI: cut patches of one size out of a batch of maps.

    top[r, c, i, j] = x[image - 1, c, y1 - 1 + i, x1 - 1 + j]

Source: the layer of this name in the Caffe fork of "Learning affinity via spatial propagation
networks" (S. Liu et al., 2017), which trains on patches of the maps that a segmentation network
makes. What its device code does is done here: the whole patch is copied.
"""

import numpy as np

from caffe_spn.errors import DataError
from caffe_spn.layer import Layer, register
from caffe_spn.layers.indices import on_device, refuse_gradient


@register("ROI", bottoms=("x", "regions"), tops=("top",), in_place=False)
class ROI(Layer):
    """top[r, c, i, j] = x[image - 1, c, y1 - 1 + i, x1 - 1 + j] for each region r

    Parameters
    ----------
    pooled_h, pooled_w : int, default 128
        Height and width of the patches. Nothing is pooled: the regions must have this size.

    Bottoms, tops
    -------------
    x : (N, C, H, W)
    regions : (R, 5), or R * 5 elements in a shape that begins with R
        Image, x1, y1, x2, y2 of each region, all counted from 1; x2 and y2 are the last column
        and row that belong to it. Fractions are cut off. They get no gradient.
    top : (R, C, pooled_h, pooled_w)

    Raises
    ------
    PrototxtError
        If a size is 0, or a gradient of the regions is wanted.
    ShapeError
        If x has not four axes, or there are not five numbers for each region.
    DataError
        If a region names no image, has another size, or leaves the map.

    Notes
    -----
    Where regions overlap, their gradients add up.

    Examples
    --------
    ::

        layer {
          name: "patches"
          type: "ROI"
          bottom: "image"
          bottom: "regions"
          top: "patches"
          roi_param { pooled_h: 16 pooled_w: 16 }
        }
    """

    no_backward_bottoms = (1,)

    def setup(self, bottom, top):
        param = self.layer_param.roi_param
        self.size = (param.pooled_h, param.pooled_w)
        if min(self.size) < 1:
            raise self.param_error(
                f"has pooled_h {self.size[0]} and pooled_w {self.size[1]}; they must be positive",
                help="they are the height and width of the patches",
            )

    def reshape(self, bottom, top):
        x, regions = (blob.shape for blob in bottom)
        if len(x) != 4:
            raise self.shape_error(
                f"bottom 0 is {x}; it must have 4 axes (N, C, H, W)",
                help="add axes of size 1 with Reshape",
            )
        if not regions or bottom[1].count != 5 * regions[0]:
            raise self.shape_error(
                f"bottom 1 (regions) is {regions}; it must be (R, 5)",
                help="the numbers of a region are image, x1, y1, x2, y2, counted from 1",
            )
        top[0].reshape(regions[0], x[1], *self.size)

    def forward_cpu(self, bottom, top):
        self.windows = [self._window(corner) for corner in self._read_corners(bottom)]
        for patch, window in zip(top[0].data, self.windows, strict=True):
            patch[...] = bottom[0].data[window]

    def backward_cpu(self, top, propagate_down, bottom):
        refuse_gradient(self, propagate_down, 1, "regions")
        if propagate_down[0]:
            diff = bottom[0].diff
            diff.fill(0)
            for patch, window in zip(top[0].diff, self.windows, strict=True):
                diff[window] += patch

    # As in Embed, the regions are read on the host.

    def forward_gpu(self, bottom, top):
        from caffe_spn.cuda import roi

        plan = roi.plan(self._read_corners(bottom), bottom[0].shape[0])
        self.plan = on_device(self, "plan", plan)
        roi.forward(bottom[0].gpu_data, self.plan, top[0].new_gpu_data)

    def backward_gpu(self, top, propagate_down, bottom):
        refuse_gradient(self, propagate_down, 1, "regions")
        if propagate_down[0]:
            from caffe_spn.cuda import roi

            roi.backward(top[0].gpu_diff, self.plan, bottom[0].new_gpu_diff)

    def _window(self, corner) -> tuple:
        """Where a patch lies in x, as an index."""
        (image, row, column), (height, width) = corner, self.size
        return np.s_[image, :, row : row + height, column : column + width]

    def _read_corners(self, bottom) -> np.ndarray:
        """Image, row and column where each patch begins, counted from 0; (R, 3)."""
        batch, _, height, width = bottom[0].shape
        pooled_h, pooled_w = self.size
        regions = bottom[1].cpu_data.reshape(-1, 5)
        corners = np.empty((len(regions), 3), np.intp)
        for number, region in enumerate(regions):
            if not np.isfinite(region).all():
                raise self._region_error(number, region, "it is not finite")
            image, x1, y1, x2, y2 = (int(v) for v in region)
            if not 1 <= image <= batch:
                raise self._region_error(
                    number, region, f"there is no image {image}, only 1 to {batch}"
                )
            if (y2 - y1 + 1, x2 - x1 + 1) != self.size:
                raise self._region_error(
                    number,
                    region,
                    f"it is {y2 - y1 + 1} high and {x2 - x1 + 1} wide, not {pooled_h} and"
                    f" {pooled_w}",
                )
            if not (1 <= x1 and x2 <= width and 1 <= y1 and y2 <= height):
                raise self._region_error(
                    number, region, f"it leaves the map, {height} high and {width} wide"
                )
            corners[number] = image - 1, y1 - 1, x1 - 1
        return corners

    def _region_error(self, number: int, region, finding: str) -> DataError:
        numbers = ", ".join(f"{v:g}" for v in region)
        return DataError(
            f"region {number} of bottom 1 is ({numbers}): {finding}",
            where=self.where,
            help="the numbers of a region are image, x1, y1, x2, y2, counted from 1; x2 and y2"
            " belong to it",
        )
