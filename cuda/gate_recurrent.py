"""Launches one direction of the recurrence with gates as they are."""

from __future__ import annotations

from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.recurrence import (
    IN_MEMORY,
    LAYOUTS,
    ONE_WARP,
    SEVERAL_WARPS,
    Variant,
    check,
    choose,
    layout,
    work_space,
)
from caffe_spn.cuda.runtime import runtime

SOURCE = "gate_recurrent.cu"
# Of the longer lines, those of one warp too take the variant for several.
VARIANTS = (*ONE_WARP[:2], *SEVERAL_WARPS)
GATES = 3
OPTIONS = [(*v.options, aligned) for v in (*VARIANTS, IN_MEMORY) for aligned in LAYOUTS]


def forward(
    x: DeviceArray,
    g1: DeviceArray,
    g2: DeviceArray,
    g3: DeviceArray,
    h: DeviceArray,
    direction: int,
) -> None:
    """h = the scan of x; all arrays are float32 (N, C, H, W).

    Parameters
    ----------
    x, g1, g2, g3 : DeviceArray
        The map, and the gates of the neighbours at k - 1, k and k + 1.
    h : DeviceArray
        Receives the result; it must not be `x`.
    direction : int
        0 left-right, 1 right-left, 2 top-bottom, 3 bottom-top.

    Raises
    ------
    ShapeError
        If shapes or types differ.
    """
    check("scan_maps", x.shape, "float32", x=x, g1=g1, g2=g2, g3=g3, h=h)
    N, C, H, W = x.shape
    if x.size == 0:
        return
    variant, options = _compiled(H, W, x, g1, g2, g3, h)
    runtime().launch(
        SOURCE,
        "scan_maps",
        N * C,
        variant.block(max(H, W)),
        *(x, g1, g2, g3, h, H, W, direction),
        options=options,
    )


def backward(
    x: DeviceArray,
    g1: DeviceArray,
    g2: DeviceArray,
    g3: DeviceArray,
    h: DeviceArray,
    h_diff: DeviceArray,
    x_diff: DeviceArray,
    d1: DeviceArray,
    d2: DeviceArray,
    d3: DeviceArray,
    direction: int,
) -> None:
    """Derivatives of `forward`, whose result is `h`: x_diff, d1, d2 and d3 are overwritten."""
    diffs = {"h_diff": h_diff, "x_diff": x_diff, "d1": d1, "d2": d2, "d3": d3}
    check("scan_maps_backward", x.shape, "float32", x=x, g1=g1, g2=g2, g3=g3, h=h, **diffs)
    N, C, H, W = x.shape
    if x.size == 0:
        return
    arrays = (x, g1, g2, g3, h, *diffs.values())
    variant, options = _compiled(H, W, *arrays)
    (lines,) = work_space((N * C * variant.line_floats(max(H, W), GATES),))
    runtime().launch(
        SOURCE,
        "scan_maps_backward",
        N * C,
        variant.block(max(H, W)),
        *(*arrays, lines, H, W, direction),
        options=options,
    )


def _compiled(H: int, W: int, *arrays: DeviceArray) -> tuple[Variant, tuple[str, ...]]:
    variant = choose(H, W, VARIANTS)
    return variant, (*variant.options, layout(W, *arrays))
