"""GateRecurrent2dnoind: a gated linear recurrence over a map in one of four directions.

Left to right, for each plane and row k, over columns t, with the gates at [k,t]::

    h[k,0] = x[k,0]
    h[k,t] = (1 - g1 - g2 - g3) x[k,t] + g1 h[k-1,t-1] + g2 h[k,t-1] + g3 h[k+1,t-1]

A gate whose neighbour lies outside the map counts as 0, in the products and in the (1 - sum)
term. The other directions are this one after a flip, a transpose, or both.

Source: "Learning Affinity via Spatial Propagation Networks", Liu et al., NeurIPS 2017, equation
6; the layer type of that name in the original SPN fork of Caffe.
"""

import numpy as np

from caffe_spn.layer import Layer, register
from caffe_spn.proto.caffe_pb2 import GateRecurrent2dnoindParameter

TEST = 1


@register("GateRecurrent2dnoind", bottoms=("x", "g1", "g2", "g3"), tops=("h",), in_place=False)
class GateRecurrent(Layer):
    """h[t] = (1 - g1 - g2 - g3) x[t] + g1 up(h[t-1]) + g2 h[t-1] + g3 down(h[t-1])

    Parameters
    ----------
    horizontal : bool, default True
        Scan columns; otherwise rows.
    reverse : bool, default False
        Scan from right to left, or from bottom to top.
    num_output : accepted and ignored
        The top always has the shape of `x`.
    active : LINEAR, default LINEAR
        What the original applies to h. The message names others; the original has none of
        them either, and they are refused.

    Bottoms
    -------
    x : (N, C, H, W)
        The map.
    g1, g2, g3 : (N, C, H, W)
        Gates of the neighbours at k-1, k and k+1 of the previous column (row). The scan is
        stable where ``|g1| + |g2| + |g3| <= 1``; the layer does not normalise them.

    Tops
    ----
    h : (N, C, H, W)

    Raises
    ------
    ShapeError
        If `x` does not have four axes, or a gate's shape differs from that of `x`.
    PrototxtError
        If `active` is not LINEAR.

    Examples
    --------
    ::

        layer {
          name: "down" type: "GateRecurrent2dnoind" top: "h"
          bottom: "x" bottom: "g1" bottom: "g2" bottom: "g3"
          gaterecurrent2dnoind_param { horizontal: false reverse: false }
        }
    """

    def setup(self, bottom, top):
        param = self.layer_param.gaterecurrent2dnoind_param
        if param.active != GateRecurrent2dnoindParameter.LINEAR:
            name = GateRecurrent2dnoindParameter.Active.Name(param.active)
            raise self.param_error(
                f"active is {name}; the recurrence is linear (active: LINEAR)",
                help=f"leave 'active' out, and put a layer that computes {name} after this one",
            )
        self.direction = (0 if param.horizontal else 2) + (1 if param.reverse else 0)

    def reshape(self, bottom, top):
        shape = bottom[0].shape
        if len(shape) != 4:
            raise self.shape_error(
                f"bottom 0 (x) is {shape}; it must have 4 axes (N, C, H, W)",
                help="put a Reshape layer in front of it",
            )
        for i, gate in enumerate(bottom[1:], start=1):
            if gate.shape != shape:
                raise self.shape_error(
                    f"bottom {i} (g{i}) is {gate.shape};"
                    f" it must have the shape of bottom 0 (x), {shape}",
                    help=self._remedy(i, gate.shape, shape),
                )
        top[0].reshape(*shape)

    def _remedy(self, index, found, wanted) -> str:
        names = self.layer_param.bottom
        name = f"'{names[index]}'" if index < len(names) else f"g{index}"
        if len(found) == 4 and found[:2] == wanted[:2]:
            return f"crop {name}, or look at the pooling above it (Caffe rounds up)"
        return f"{name} needs one gate for each element of x; look at the Slice that makes it"

    def _checkpoints(self, shape):
        from caffe_spn.cpu import recurrence

        needed = recurrence.checkpoints_shape(shape, 1, self.dtype)
        return self.workspace("checkpoints", needed, np.float32)

    def forward_cpu(self, bottom, top):
        from caffe_spn.cpu import recurrence

        checkpoints = None if self.phase == TEST else self._checkpoints(bottom[0].shape)
        recurrence.scan(*(b.data for b in bottom), top[0].data, self.direction, checkpoints)

    def backward_cpu(self, top, propagate_down, bottom):
        from caffe_spn.cpu import recurrence

        if not any(propagate_down):
            return
        data = [b.data for b in bottom]
        shape = bottom[0].shape
        checkpoints = self._checkpoints(shape)
        if self.phase == TEST:
            # Nothing was kept: a TEST net pays for it only when it does run backward.
            recurrence.scan(*data, self.workspace("h", shape), self.direction, checkpoints)
        diffs = [
            blob.diff if wanted else self.workspace(f"diff {i}", shape)
            for i, (blob, wanted) in enumerate(zip(bottom, propagate_down, strict=True))
        ]
        recurrence.scan_backward(*data, top[0].diff, self.direction, checkpoints, *diffs)

    def forward_gpu(self, bottom, top):
        from caffe_spn.cuda import gate_recurrent

        gate_recurrent.forward(*(b.gpu_data for b in bottom), top[0].new_gpu_data, self.direction)

    def backward_gpu(self, top, propagate_down, bottom):
        from caffe_spn.cuda import gate_recurrent

        if not any(propagate_down):
            return
        diffs = [
            blob.new_gpu_diff if wanted else self.gpu_workspace(f"diff {i}", blob.shape)
            for i, (blob, wanted) in enumerate(zip(bottom, propagate_down, strict=True))
        ]
        data = [b.gpu_data for b in bottom]
        gate_recurrent.backward(*data, top[0].gpu_data, top[0].gpu_diff, *diffs, self.direction)
