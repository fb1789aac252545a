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

    # `kernels` is caffe_spn.cpu.recurrence or, with the same functions, its GPU twin; `workspace`
    # makes arrays where it computes.

    def _memory(self, kernels, workspace, shape):
        """What training keeps: maps between units, and of each unit winners and checkpoints."""
        winners = kernels.argmax_shape(shape, self.integration)
        checkpoints = kernels.checkpoints_shape(shape, DIRECTIONS, self.dtype)
        return (
            workspace("between", (self.units - 1, *shape)),
            workspace("winners", (self.units, *winners), np.uint8),
            workspace("checkpoints", (self.units, *checkpoints), np.float32),
        )

    def forward_cpu(self, bottom, top):
        from caffe_spn.cpu import recurrence

        data = [blob.data for blob in (*bottom, *top)]
        self._forward(recurrence, self.workspace, *data)

    def forward_gpu(self, bottom, top):
        from caffe_spn.cuda import spatial_propagation

        data = (bottom[0].gpu_data, bottom[1].gpu_data, top[0].new_gpu_data)
        self._forward(spatial_propagation, self.gpu_workspace, *data)

    def _forward(self, kernels, workspace, x, guidance, out):
        if self.phase == TEST:
            self._infer(kernels, workspace, x, guidance, out)
        else:
            self._propagate(kernels, workspace, x, guidance, out)

    def _infer(self, kernels, workspace, x, guidance, out):
        """Forward that keeps nothing; two maps take turns, so that the last one is `out`."""
        for unit in range(self.units):
            last = (self.units - 1 - unit) % 2 == 0
            target = out if last else workspace("between", (1, *x.shape))[0]
            kernels.propagate(x, guidance, target, *self.rule)
            x = target

    def _propagate(self, kernels, workspace, x, guidance, out):
        """Forward that keeps what backward needs."""
        between, winners, checkpoints = self._memory(kernels, workspace, x.shape)
        for unit in range(self.units):
            target = out if unit == self.units - 1 else between[unit]
            kernels.propagate(x, guidance, target, *self.rule, winners[unit], checkpoints[unit])
            x = target

    def backward_cpu(self, top, propagate_down, bottom):
        from caffe_spn.cpu import recurrence

        if any(propagate_down):
            diffs = [
                blob.diff if wanted else self.workspace(f"diff {i}", blob.shape)
                for i, (blob, wanted) in enumerate(zip(bottom, propagate_down, strict=True))
            ]
            data = [blob.data for blob in bottom]
            self._backward(recurrence, self.workspace, *data, top[0].diff, *diffs)

    def backward_gpu(self, top, propagate_down, bottom):
        from caffe_spn.cuda import spatial_propagation

        if any(propagate_down):
            diffs = [
                blob.new_gpu_diff if wanted else self.gpu_workspace(f"diff {i}", blob.shape)
                for i, (blob, wanted) in enumerate(zip(bottom, propagate_down, strict=True))
            ]
            data = [blob.gpu_data for blob in bottom]
            kernels, out_diff = spatial_propagation, top[0].gpu_diff
            spare = kernels.spare_map(bottom[0].shape) if self.units > 1 else None
            self._backward(kernels, self.gpu_workspace, *data, out_diff, *diffs, spare)

    def _backward(
        self, kernels, workspace, x, guidance, out_diff, x_diff, guidance_diff, spare=None
    ):
        if self.phase == TEST:
            # Nothing was kept: a TEST net pays for it only when it does run backward.
            self._propagate(kernels, workspace, x, guidance, workspace("h", x.shape))
        between, winners, checkpoints = self._memory(kernels, workspace, x.shape)
        for unit in reversed(range(self.units)):
            # The gradient by a map in between takes turns in two places, to end in x_diff. The
            # other is `spare`, if there is memory to spare: it need not outlive this pass.
            target = x_diff if unit % 2 == 0 else spare or workspace("between diff", x.shape)
            kernels.propagate_backward(
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
