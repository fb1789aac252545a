"""SpatialPropagation: propagate a map in four directions under learned gates, in one layer.

The published network's propagation unit, which Slice, AbsVal, Eltwise, Divide and four
GateRecurrent2dnoind layers spell out: normalise the gates, scan left-right, right-left,
top-bottom and bottom-top (the formula is in `gate_recurrent.py`), and take the largest of the
four results at each element. `caffe_spn.graph.fuse` and `caffe_spn.graph.expand` turn one form
into the other.

Source: "Learning Affinity via Spatial Propagation Networks", Liu et al., NeurIPS 2017, section
3 (equation 6, Theorem 3) and the integration of the directions in section 4.
"""

import numpy as np

from caffe_spn.layer import Layer, register
from caffe_spn.proto.caffe_pb2 import SpatialPropagationParameter

TEST = 1
DIRECTIONS = 4


@register("SpatialPropagation", bottoms=("x", "guidance"), tops=("h",), in_place=False)
class SpatialPropagation(Layer):
    """h = max over four directions of a gated linear scan of x, `units` times in a row

    Parameters
    ----------
    connection : THREE_WAY or ONE_WAY, default THREE_WAY
        Whether an element sees three neighbours in the previous column (row), or only the one
        straight behind; G = 3 or 1 gates.
    normalization : SUM_ABS, CLIP or NONE, default SUM_ABS
        With s = |g1| + |g2| + |g3|: g / s (s at least 1e-6), g / max(s, 1), or g as it is.
        The scan is stable under the first two. One-way under SUM_ABS a gate is its sign, which
        has no gradient: train one-way networks with CLIP.
    integration : MAX, SUM or MEAN, default MAX
        How the four results become one. On equal values MAX takes the first direction.
    units : int, default 1
        How many propagations follow each other, all under the same gates.

    Bottoms
    -------
    x : (N, C, H, W)
        The map.
    guidance : (N, 4 G C, H, W)
        The gates, in blocks of C channels: for each direction in the order left-right,
        right-left, top-bottom, bottom-top its g1, g2, g3 (one-way: its g2).

    Tops
    ----
    h : (N, C, H, W)

    Raises
    ------
    ShapeError
        If a bottom does not have four axes, or the shapes do not fit as above.
    PrototxtError
        If `units` is 0.

    Examples
    --------
    ::

        layer {
          name: "propagate" type: "SpatialPropagation"
          bottom: "features" bottom: "guidance" top: "propagated"
          spatial_propagation_param { connection: THREE_WAY normalization: CLIP units: 2 }
        }
    """

    def setup(self, bottom, top):
        param = self.layer_param.spatial_propagation_param
        if param.units < 1:
            raise self.param_error(
                "units is 0; it must be at least 1", help="remove the layer to have no propagation"
            )
        self.units = param.units
        self.integration = param.integration
        self.rule = (param.connection, param.normalization, param.integration)
        self.gates = 1 if param.connection == SpatialPropagationParameter.ONE_WAY else 3

    def reshape(self, bottom, top):
        self._check_shapes(bottom[0].shape, bottom[1].shape)
        shape = bottom[0].shape
        top[0].reshape(*shape)
        if self.phase != TEST:
            self._memory(shape)
        elif self.units > 1:
            self.workspace("between", (1, *shape))

    def _check_shapes(self, x, guidance):
        for i, (name, shape) in enumerate((("x", x), ("guidance", guidance))):
            if len(shape) != 4:
                raise self.shape_error(
                    f"bottom {i} ({name}) is {shape}; it must have 4 axes (N, C, H, W)",
                    help="put a Reshape layer in front of it",
                )
        N, C, H, W = x
        channels = DIRECTIONS * self.gates * C
        if guidance != (N, channels, H, W):
            raise self.shape_error(
                f"bottom 1 (guidance) is {guidance}; for a bottom 0 (x) of {x} it must be"
                f" {(N, channels, H, W)}: {DIRECTIONS} directions x {self.gates} gate(s) x"
                f" {C} channels",
                help=self._remedy(x, guidance, channels),
            )

    def _remedy(self, x, guidance, channels) -> str:
        C, found = x[1], guidance[1]
        if found == channels:
            return "crop the larger one, or look at the pooling above it (Caffe rounds up)"
        for gates, name in ((3, "THREE_WAY"), (1, "ONE_WAY")):
            if gates != self.gates and found == DIRECTIONS * gates * C:
                return f"that many channels would fit 'connection: {name}'"
        return f"give the convolution that makes the guidance 'num_output: {channels}'"

    def _memory(self, shape):
        """What training keeps: maps between units, and of each unit winners and checkpoints."""
        from caffe_spn.cpu import recurrence

        winners = recurrence.argmax_shape(shape, self.integration)
        checkpoints = recurrence.checkpoints_shape(shape, DIRECTIONS, self.dtype)
        return (
            self.workspace("between", (self.units - 1, *shape)),
            self.workspace("winners", (self.units, *winners), np.uint8),
            self.workspace("checkpoints", (self.units, *checkpoints), np.float32),
        )

    def forward_cpu(self, bottom, top):
        if self.phase == TEST:
            self._infer(bottom[0].data, bottom[1].data, top[0].data)
        else:
            self._propagate(bottom[0].data, bottom[1].data, top[0].data)

    def _infer(self, x, guidance, out):
        """Forward that keeps nothing; two maps take turns, so that the last one is `out`."""
        from caffe_spn.cpu import recurrence

        for unit in range(self.units):
            last = (self.units - 1 - unit) % 2 == 0
            target = out if last else self.workspace("between", (1, *x.shape))[0]
            recurrence.propagate(x, guidance, target, *self.rule)
            x = target

    def _propagate(self, x, guidance, out):
        """Forward that keeps what backward needs."""
        from caffe_spn.cpu import recurrence

        between, winners, checkpoints = self._memory(x.shape)
        for unit in range(self.units):
            target = out if unit == self.units - 1 else between[unit]
            recurrence.propagate(x, guidance, target, *self.rule, winners[unit], checkpoints[unit])
            x = target

    def backward_cpu(self, top, propagate_down, bottom):
        from caffe_spn.cpu import recurrence

        if not any(propagate_down):
            return
        x, guidance = bottom[0].data, bottom[1].data
        if self.phase == TEST:
            # Nothing was kept: a TEST net pays for it only when it does run backward.
            self._propagate(x, guidance, self.workspace("h", x.shape))
        between, winners, checkpoints = self._memory(x.shape)
        x_diff, guidance_diff = (
            blob.diff if wanted else self.workspace(f"diff {i}", blob.shape)
            for i, (blob, wanted) in enumerate(zip(bottom, propagate_down, strict=True))
        )
        out_diff = top[0].diff
        for unit in reversed(range(self.units)):
            # The gradient by a map in between takes turns in two places, to end in x_diff.
            target = x_diff if unit % 2 == 0 else self.workspace("between diff", x.shape)
            recurrence.propagate_backward(
                between[unit - 1] if unit > 0 else x,
                guidance,
                out_diff,
                winners[unit],
                checkpoints[unit],
                target,
                guidance_diff,
                *self.rule,
                add_to_guidance=unit < self.units - 1,
            )
            out_diff = target
