"""Launches spatial propagation: all four directions of a map, normalised and joined.

Small maps take one launch, in which the four results meet in shared memory. Others take two: the
results go to device memory, and are joined there.

The functions are those of `caffe_spn.cpu.recurrence`, with arrays on the device. What training
keeps differs: all hidden values of the four directions, because they are written for the join
anyway, and reading them is cheaper than scanning again.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from caffe_spn.cpu.recurrence_rules import (
    MAXIMUM,
    SUM_ABS,
    THREE_WAY,
    make_join,
    make_rule,
)
from caffe_spn.cpu.recurrence_rules import argmax_shape as argmax_shape
from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.recurrence import (
    IN_MEMORY,
    LAYOUTS,
    ONE_WARP,
    SEVERAL_WARPS,
    WARP,
    check,
    choose,
    layout,
    work_space,
)
from caffe_spn.cuda.runtime import THREADS, blocks, runtime

SOURCE = "spatial_propagation.cu"
DIRECTIONS = 4
# Floats between the rows of a map in shared memory beyond its width: without them, a column's
# elements would lie in the same bank.
PADDING = 4
OPTIONS = [
    (*variant.options, f"-DGATES={gates}", aligned)
    for variant in (*ONE_WARP, *SEVERAL_WARPS, IN_MEMORY)
    for gates in (3, 1)
    for aligned in LAYOUTS
]


def checkpoints_shape(shape: tuple[int, ...], directions: int, dtype=np.float32) -> tuple[int, ...]:
    """Shape of the array of hidden values that training keeps."""
    return (directions, *shape)


def propagate(
    x: DeviceArray,
    guidance: DeviceArray,
    out: DeviceArray,
    connection: int = THREE_WAY,
    normalization: int = SUM_ABS,
    integration: int = MAXIMUM,
    argmax: DeviceArray | None = None,
    checkpoints: DeviceArray | None = None,
) -> None:
    """Normalise the gates, scan in four directions, and join the results.

    Parameters
    ----------
    x : (N, C, H, W)
    guidance : (N, 4 G C, H, W)
        Gates in blocks of C channels, G = 3 for each direction (three-way) or 1 (one-way).
    out : (N, C, H, W)
        Receives the result; it must not be `x`.
    connection, normalization, integration : int
        Values of the enumerations of SpatialPropagationParameter.
    argmax : uint8, of `argmax_shape(x.shape, integration)`, optional
    checkpoints : of `checkpoints_shape(x.shape, 4)`, optional
        Both are given for training: `propagate_backward` starts from them.

    Raises
    ------
    ShapeError
        If shapes or types do not fit.
    """
    plan = _plan("propagate", x, guidance, connection, normalization, integration)
    winners = argmax if plan.largest else None
    check("propagate", x.shape, "float32", out=out)
    check("propagate", x.shape, "uint8", argmax=winners)
    check("propagate", checkpoints_shape(x.shape, DIRECTIONS), "float32", checkpoints=checkpoints)
    if x.size == 0:
        return
    join = (plan.largest, plan.factor)
    pitch = _shared_pitch(*x.shape[2:])
    if pitch:
        plan.launch_maps(
            "propagate_maps",
            pitch,
            (x, guidance, out, checkpoints, winners),
            *(plan.weight, plan.floor, *join),
        )
        return
    h = checkpoints or work_space(checkpoints_shape(x.shape, DIRECTIONS))[0]
    plan.launch_lines("propagate_lines", (x, guidance, h), plan.weight, plan.floor)
    plan.launch_groups("join", (h, out, winners), *join)


def propagate_backward(
    x: DeviceArray,
    guidance: DeviceArray,
    out_diff: DeviceArray,
    argmax: DeviceArray | None,
    checkpoints: DeviceArray,
    x_diff: DeviceArray,
    guidance_diff: DeviceArray,
    connection: int = THREE_WAY,
    normalization: int = SUM_ABS,
    integration: int = MAXIMUM,
    add_to_guidance: bool = False,
) -> None:
    """Derivatives of `propagate`, from those of its result.

    `x_diff` is overwritten (it may not be `out_diff`), `guidance_diff` too, or added to where
    units share their gates.
    """
    kernel = "propagate_backward"
    plan = _plan(kernel, x, guidance, connection, normalization, integration)
    winners = argmax if plan.largest else None
    check(kernel, x.shape, "float32", out_diff=out_diff, x_diff=x_diff)
    check(kernel, x.shape, "uint8", argmax=winners)
    check(kernel, checkpoints_shape(x.shape, DIRECTIONS), "float32", checkpoints=checkpoints)
    check(kernel, guidance.shape, "float32", guidance_diff=guidance_diff)
    if x.size == 0:
        return
    N, C, H, W = x.shape
    inputs = (x, guidance, checkpoints, winners, out_diff)
    numbers = (plan.weight, plan.floor, plan.factor, add_to_guidance)
    pitch = _shared_pitch(H, W)
    if pitch:
        plan.launch_maps(
            "propagate_maps_backward", pitch, (*inputs, x_diff, guidance_diff), *numbers
        )
        return
    longest = max(H, W)
    floats = choose(H, W, SEVERAL_WARPS).line_floats(longest, plan.gates)
    x_diffs, lines = work_space(
        checkpoints_shape(x.shape, DIRECTIONS), (N * C * DIRECTIONS * floats,)
    )
    plan.launch_lines(
        "propagate_lines_backward", (*inputs, x_diffs, guidance_diff, lines), *numbers
    )
    plan.launch_groups("sum_directions", (x_diffs, x_diff))


def spare_map(shape: tuple[int, ...]) -> DeviceArray | None:
    """A map in the work space that all layers share; None where `propagate_backward` needs that.

    It can be used until something else is launched that takes work space.
    """
    return work_space(shape)[0] if _shared_pitch(*shape[2:]) else None


class _Plan(NamedTuple):
    """How one call is computed: its shape and rule, and the launches that follow from them."""

    shape: tuple[int, ...]
    gates: int
    weight: float
    floor: float
    largest: bool
    factor: float

    def _options(self, variant, arrays) -> tuple[str, ...]:
        aligned = layout(self.shape[-1], *arrays)
        return (*variant.options, f"-DGATES={self.gates}", aligned)

    def launch_maps(self, kernel: str, pitch: int, arrays, *numbers) -> None:
        """A block for each map, a warp for each direction."""
        N, C, H, W = self.shape
        runtime().launch(
            SOURCE,
            kernel,
            N * C,
            (WARP, DIRECTIONS),
            *(*arrays, C, H, W, pitch, *numbers),
            shared=_shared_bytes(H, pitch),
            options=self._options(choose(H, W, ONE_WARP), arrays),
        )

    def launch_lines(self, kernel: str, arrays, *numbers) -> None:
        """A block for each direction of each map."""
        N, C, H, W = self.shape
        variant = choose(H, W, SEVERAL_WARPS)
        runtime().launch(
            SOURCE,
            kernel,
            (N * C, DIRECTIONS),
            variant.block(max(H, W)),
            *(*arrays, C, H, W, *numbers),
            options=self._options(variant, arrays),
        )

    def launch_groups(self, kernel: str, arrays, *numbers) -> None:
        """All elements, four at a time where that is possible."""
        N, C, H, W = self.shape
        options = self._options(choose(H, W, SEVERAL_WARPS), arrays)
        groups = N * C * H * W // (4 if LAYOUTS[0] in options else 1)
        runtime().launch(
            SOURCE, kernel, blocks(groups), THREADS, *arrays, groups, *numbers, options=options
        )


def _plan(kernel: str, x, guidance, connection: int, normalization: int, integration: int) -> _Plan:
    rule = make_rule(connection, normalization, np.float32)
    _, factor = make_join(integration, True, np.float32)
    gates = 3 if rule.three_way else 1
    N, C, H, W = x.shape
    check(kernel, x.shape, "float32", x=x)
    check(kernel, (N, DIRECTIONS * gates * C, H, W), "float32", guidance=guidance)
    largest = integration == MAXIMUM
    return _Plan(x.shape, gates, float(rule.weight), float(rule.floor), largest, float(factor))


def _shared_bytes(H: int, pitch: int) -> int:
    return 4 * DIRECTIONS * H * pitch


def _shared_pitch(H: int, W: int) -> int:
    """Floats between rows of a map's results in shared memory; 0 where they do not fit."""
    if max(H, W) > ONE_WARP[-1].longest:
        return 0
    room = runtime().device.shared_memory
    return next((p for p in (W + PADDING, W) if _shared_bytes(H, p) <= room), 0)
