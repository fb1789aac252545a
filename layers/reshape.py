"""Reshape and Flatten: other dimensions for the same numbers.

Source: `ReshapeLayer` and `FlattenLayer` of BVLC Caffe.
"""

import math

from caffe_spn.layer import Layer, register


class ViewLayer(Layer):
    """Base of layers whose top shares data and diff with the bottom; nothing is computed."""

    def share(self, bottom, top, shape) -> None:
        """Let the top be the bottom with another shape."""
        top[0].reshape(*shape)
        top[0].share_data(bottom[0])
        top[0].share_diff(bottom[0])

    def forward_cpu(self, bottom, top):
        pass

    def backward_cpu(self, top, propagate_down, bottom):
        pass

    def forward_gpu(self, bottom, top):
        pass

    def backward_gpu(self, top, propagate_down, bottom):
        pass


@register("Reshape", in_place=False)
class Reshape(ViewLayer):
    """Replace all axes of a blob, or some, by others.

    Parameters
    ----------
    shape : BlobShape
        The new dimensions. 0 copies the bottom's dimension at the same place, one -1 is found
        from the count.
    axis : int, default 0
        The first axis to replace; -1 is behind the last one.
    num_axes : int, default -1
        How many axes to replace; -1 for all to the end.

    Bottoms
    -------
    bottom : any

    Tops
    ----
    top : as stated, with as many elements

    Raises
    ------
    PrototxtError
        If there is more than one -1, or a dimension below it.
    ShapeError
        If the axes do not exist, or the counts do not agree.

    Notes
    -----
    The top shares the memory of the bottom, data and diff.

    Examples
    --------
    ::

        layer {
          name: "rows" type: "Reshape" bottom: "x" top: "rows"
          reshape_param { shape { dim: 0 dim: -1 } }
        }
    """

    def setup(self, bottom, top):
        param = self.layer_param.reshape_param
        self.dims = list(param.shape.dim)
        if self.dims.count(-1) > 1 or min(self.dims, default=0) < -1:
            raise self.param_error(
                f"has the shape {self.dims}; one dimension may be -1, the others 0 or positive",
                help="state all dimensions but one",
            )
        if param.num_axes < -1:
            raise self.param_error(
                f"has num_axes {param.num_axes}; it must be -1 (all) or more",
                help="leave num_axes out",
            )

    def reshape(self, bottom, top):
        shape = bottom[0].shape
        start, end = self._replaced(shape)
        dims = [
            self._copied(shape, start + i) if dim == 0 else dim for i, dim in enumerate(self.dims)
        ]
        new = [*shape[:start], *dims, *shape[end:]]
        if -1 in dims:
            known = math.prod(d for d in new if d != -1)
            if known == 0 or bottom[0].count % known:
                raise self._count_error(bottom[0], new, "a multiple of", known)
            new[start + dims.index(-1)] = bottom[0].count // known
        elif math.prod(new) != bottom[0].count:
            raise self._count_error(bottom[0], new, "exactly", math.prod(new))
        self.share(bottom, top, new)

    def _replaced(self, shape) -> tuple[int, int]:
        """First and last (not included) axis to replace."""
        param = self.layer_param.reshape_param
        axes = len(shape)
        # One more than the axes: -1 is the place behind the last one.
        start = param.axis if param.axis >= 0 else param.axis + axes + 1
        end = axes if param.num_axes == -1 else start + param.num_axes
        if not 0 <= start <= end <= axes:
            raise self.shape_error(
                f"axis {param.axis} and num_axes {param.num_axes} do not lie within the bottom,"
                f" {shape}",
                help=f"axis goes from {-axes - 1} to {axes}, and axis + num_axes to {axes}",
            )
        return start, end

    def _copied(self, shape, index: int) -> int:
        if index >= len(shape):
            raise self.shape_error(
                f"has a 0 in shape {self.dims} for axis {index}, but the bottom is {shape}",
                help="0 copies the bottom's dimension at the same place; state a number",
            )
        return shape[index]

    def _count_error(self, blob, new, how, wanted):
        return self.shape_error(
            f"bottom is {blob.shape}, {blob.count} elements; the new shape {tuple(new)} needs"
            f" {how} {wanted}",
            help="let one dimension be -1, or correct the numbers",
        )


@register("Flatten", in_place=False)
class Flatten(ViewLayer):
    """top[n, (c H + h) W + w] = bottom[n, c, h, w]: one axis instead of several

    Parameters
    ----------
    axis : int, default 1
        The first axis to join.
    end_axis : int, default -1
        The last one.

    Bottoms
    -------
    bottom : (N, C, H, W), or with any axes

    Tops
    ----
    top : (N, C H W)

    Raises
    ------
    ShapeError
        If the axes do not exist, or the last is before the first.

    Notes
    -----
    The top shares the memory of the bottom, data and diff.

    Examples
    --------
    ::

        layer { name: "flat" type: "Flatten" bottom: "x" top: "flat" }
    """

    def reshape(self, bottom, top):
        param = self.layer_param.flatten_param
        shape = bottom[0].shape
        first = self.axis(bottom[0], param.axis)
        last = self.axis(bottom[0], param.end_axis, "end_axis")
        # One behind the last is allowed, as in Caffe: it inserts an axis of size 1.
        if first > last + 1:
            raise self.shape_error(
                f"axis {param.axis} of the bottom {shape} is behind end_axis {param.end_axis}",
                help="axis is the first of the axes to join, end_axis the last",
            )
        joined = math.prod(shape[first : last + 1])
        self.share(bottom, top, [*shape[:first], joined, *shape[last + 1 :]])
