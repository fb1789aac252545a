"""Concat and Slice: join blobs along an axis, and take one apart.

Source: `ConcatLayer` and `SliceLayer` of BVLC Caffe.
"""

import numpy as np

from caffe_spn.layer import Layer, register


class AxisLayer(Layer):
    """What both share: the axis, which older definitions name in a field of their own."""

    def read_axis(self, param, old_field: str) -> None:
        """Take the axis from `axis`, or from `concat_dim` or `slice_dim`."""
        self.axis_name, self.axis_value = "axis", param.axis
        if not param.HasField(old_field):
            return
        if param.HasField("axis"):
            raise self.param_error(
                f"has both axis and {old_field}", help=f"keep axis; {old_field} is its old name"
            )
        self.axis_name, self.axis_value = old_field, getattr(param, old_field)


def parts(array, sizes, axis):
    """Views of consecutive pieces of `array` along an axis."""
    ends = np.cumsum(sizes)
    before = (slice(None),) * axis
    return [array[(*before, slice(end - size, end))] for size, end in zip(sizes, ends, strict=True)]


@register("Concat", bottoms=("bottom+",), in_place=False)
class Concat(AxisLayer):
    """top = the bottoms, one after the other along an axis

    Parameters
    ----------
    axis : int, default 1
        The axis along which the bottoms follow each other; may count from the back.
    concat_dim : old form of `axis`
        Counts from the front only.

    Bottoms
    -------
    bottom+ : (N, C, ...)
        Equal shapes except along `axis`.

    Tops
    ----
    top : (N, sum of C, ...)
        Along `axis` the sum of the bottoms' sizes.

    Raises
    ------
    PrototxtError
        If both names of the axis are used.
    ShapeError
        If the axis does not exist or the shapes do not fit.

    Notes
    -----
    A single bottom is not copied; the top shares its memory.

    Examples
    --------
    ::

        layer {
          name: "both" type: "Concat" bottom: "a" bottom: "b" top: "both"
          concat_param { axis: 1 }
        }
    """

    def setup(self, bottom, top):
        self.read_axis(self.layer_param.concat_param, "concat_dim")

    def reshape(self, bottom, top):
        self.along = along = self.axis(bottom[0], self.axis_value, self.axis_name)
        first = bottom[0].shape
        for i, blob in enumerate(bottom):
            rest = blob.shape[:along] + blob.shape[along + 1 :]
            if len(blob.shape) != len(first) or rest != first[:along] + first[along + 1 :]:
                raise self.shape_error(
                    f"bottom {i} is {blob.shape}; it must have the shape of bottom 0, {first},"
                    f" except along axis {along}",
                    help="crop or reshape it",
                )
        self.sizes = [blob.shape[along] for blob in bottom]
        top[0].reshape(*first[:along], sum(self.sizes), *first[along + 1 :])
        if len(bottom) == 1:
            top[0].share_data(bottom[0])
            top[0].share_diff(bottom[0])

    def forward_cpu(self, bottom, top):
        if len(bottom) > 1:
            np.concatenate([b.data for b in bottom], axis=self.along, out=top[0].data)

    def backward_cpu(self, top, propagate_down, bottom):
        if len(bottom) == 1:
            return
        pieces = parts(top[0].diff, self.sizes, self.along)
        for wanted, blob, piece in zip(propagate_down, bottom, pieces, strict=True):
            if wanted:
                blob.diff[...] = piece

    def forward_gpu(self, bottom, top):
        from caffe_spn.cuda import copy

        if len(bottom) > 1:
            copy.join([b.gpu_data for b in bottom], top[0].new_gpu_data, self.sizes, self.along)

    def backward_gpu(self, top, propagate_down, bottom):
        from caffe_spn.cuda import copy

        if len(bottom) > 1 and any(propagate_down):
            pieces = [
                blob.new_gpu_diff if wanted else None
                for wanted, blob in zip(propagate_down, bottom, strict=True)
            ]
            copy.cut(top[0].gpu_diff, pieces, self.sizes, self.along)


@register("Slice", tops=("top+",), in_place=False)
class Slice(AxisLayer):
    """top[i] = the bottom from slice_point[i - 1] to slice_point[i] along an axis

    Parameters
    ----------
    axis : int, default 1
        The axis that is cut; may count from the back.
    slice_point : int for each top but the last, ascending
        Where the tops end. Without any, all tops have the same size.
    slice_dim : old form of `axis`
        Counts from the front only.

    Bottoms
    -------
    bottom : (N, C, ...)

    Tops
    ----
    top+ : (N, a part of C, ...)
        The bottom's shape except along `axis`.

    Raises
    ------
    PrototxtError
        If both names of the axis are used, or the slice points are too few, too many or not
        ascending.
    ShapeError
        If the axis does not exist, is too short, or cannot be divided evenly.

    Notes
    -----
    A single top is not copied; it shares the bottom's memory.

    Examples
    --------
    ::

        layer {
          name: "cut" type: "Slice" bottom: "image" top: "blue" top: "green_red"
          slice_param { axis: 1 slice_point: 1 }
        }
    """

    def setup(self, bottom, top):
        self.read_axis(self.layer_param.slice_param, "slice_dim")
        self.points = list(self.layer_param.slice_param.slice_point)
        if self.points and len(self.points) != len(top) - 1:
            raise self.param_error(
                f"has {len(self.points)} slice_point(s) for {len(top)} tops; it needs"
                f" {len(top) - 1}",
                help="state where each top but the last one ends",
            )
        if any(b <= a for a, b in zip([0] + self.points, self.points, strict=False)):
            raise self.param_error(
                f"has the slice points {self.points}; they must be positive and ascend",
                help="sort them, and drop doubles",
            )

    def reshape(self, bottom, top):
        self.along = along = self.axis(bottom[0], self.axis_value, self.axis_name)
        shape = bottom[0].shape
        self.sizes = self._sizes(shape, len(top))
        for blob, size in zip(top, self.sizes, strict=True):
            blob.reshape(*shape[:along], size, *shape[along + 1 :])
        if len(top) == 1:
            top[0].share_data(bottom[0])
            top[0].share_diff(bottom[0])

    def _sizes(self, shape, tops: int) -> list[int]:
        total = shape[self.along]
        if not self.points:
            if total % tops:
                raise self.shape_error(
                    f"axis {self.along} of the bottom {shape} has {total} elements, which {tops}"
                    " tops cannot share evenly",
                    help="state slice_point",
                )
            return [total // tops] * tops
        if self.points[-1] > total or tops > total:
            raise self.shape_error(
                f"has slice points {self.points} for {tops} tops, but axis {self.along} of the"
                f" bottom {shape} has {total} elements",
                help="slice points must lie within the axis",
            )
        return [b - a for a, b in zip([0] + self.points, self.points + [total], strict=True)]

    def forward_cpu(self, bottom, top):
        if len(top) > 1:
            for blob, piece in zip(top, self._pieces(bottom[0].data), strict=True):
                blob.data[...] = piece

    def backward_cpu(self, top, propagate_down, bottom):
        if propagate_down[0] and len(top) > 1:
            for blob, piece in zip(top, self._pieces(bottom[0].diff), strict=True):
                piece[...] = blob.diff

    def forward_gpu(self, bottom, top):
        from caffe_spn.cuda import copy

        if len(top) > 1:
            copy.cut(bottom[0].gpu_data, [t.new_gpu_data for t in top], self.sizes, self.along)

    def backward_gpu(self, top, propagate_down, bottom):
        from caffe_spn.cuda import copy

        if propagate_down[0] and len(top) > 1:
            copy.join([t.gpu_diff for t in top], bottom[0].new_gpu_diff, self.sizes, self.along)

    def _pieces(self, array):
        return parts(array, self.sizes, self.along)
