"""Spatial propagation on arrays: what the layers call.

One direction, left to right, for each plane and row k, over columns t::

    h[k,0] = x[k,0]
    h[k,t] = (1 - g1 - g2 - g3) x[k,t] + g1 h[k-1,t-1] + g2 h[k,t-1] + g3 h[k+1,t-1]

with the gates at [k,t]; a gate whose neighbour lies outside the map counts as 0. The other
directions are this one after a flip, a transpose, or both. `scan` is one direction with gates
as they are; `propagate` normalises the gates, scans in the order left-right, right-left,
top-bottom, bottom-top, and joins the four results.

float32 runs in the compiled kernels (`recurrence_parallel`), everything else in NumPy.

Source: "Learning Affinity via Spatial Propagation Networks", Liu et al., NeurIPS 2017.
"""

from __future__ import annotations

import numpy as np

from caffe_spn import cpu
from caffe_spn.cpu import recurrence_numpy
from caffe_spn.cpu.recurrence_rules import (
    ADD,
    ARGMAX,
    BLOCK,
    MAXIMUM,
    NONE,
    SET,
    SLOTS,
    SUM_ABS,
    THREE_WAY,
    make_join,
    make_rule,
)
from caffe_spn.cpu.recurrence_rules import argmax_shape as argmax_shape

# With fewer planes than this for each thread, directions become tasks of their own.
PLANES_FOR_EACH_THREAD = 2


def checkpoints_shape(shape: tuple[int, ...], directions: int, dtype) -> tuple[int, ...]:
    """Shape of the float32 array of hidden values that training keeps; maybe empty."""
    N, C, H, W = shape
    if not _fast(dtype):
        return (0, 0, 0, 0, 0)
    longest = max(H, W)
    return (N, C, directions, -(-longest // BLOCK), longest)


def scan(
    x: np.ndarray,
    g1: np.ndarray,
    g2: np.ndarray,
    g3: np.ndarray,
    h: np.ndarray,
    direction: int,
    checkpoints: np.ndarray | None = None,
) -> None:
    """Scan in one direction with gates as they are.

    Parameters
    ----------
    x, g1, g2, g3 : (N, C, H, W)
    h : (N, C, H, W)
        Receives the result; it must not be `x`.
    direction : int
        0 left-right, 1 right-left, 2 top-bottom, 3 bottom-top.
    checkpoints : of `checkpoints_shape(x.shape, 1, dtype)`, optional
        Given for training: `scan_backward` starts from it.
    """
    rule = make_rule(THREE_WAY, NONE, x.dtype)
    if not _fast(x.dtype):
        g = recurrence_numpy.turned(np.stack([g1, g2, g3]), direction)
        result = recurrence_numpy.scan(recurrence_numpy.turned(x, direction), g, rule)
        h[...] = recurrence_numpy.turned_back(result, direction)
        return
    from caffe_spn.cpu import recurrence_parallel as kernels

    planes = (-1, *x.shape[2:])
    kept = _no_checkpoints(x.shape, 1) if checkpoints is None else checkpoints
    with cpu.parallel_section():
        kernels.scan_planes_forward(
            *(a.reshape(planes) for a in (x, g1, g2, g3)),
            rule,
            direction,
            h.reshape(planes),
            SET,
            _no_argmax(),
            kept.reshape(x.shape[0] * x.shape[1], *kept.shape[3:]),
            _slots(x.shape),
        )


def scan_backward(
    x: np.ndarray,
    g1: np.ndarray,
    g2: np.ndarray,
    g3: np.ndarray,
    h_diff: np.ndarray,
    direction: int,
    checkpoints: np.ndarray,
    x_diff: np.ndarray,
    d1: np.ndarray,
    d2: np.ndarray,
    d3: np.ndarray,
) -> None:
    """Derivatives of `scan`, from those of its result: x_diff, d1, d2, d3 are overwritten."""
    rule = make_rule(THREE_WAY, NONE, x.dtype)
    if not _fast(x.dtype):
        turned, back = recurrence_numpy.turned, recurrence_numpy.turned_back
        g = turned(np.stack([g1, g2, g3]), direction)
        dx, dg = recurrence_numpy.scan_backward(
            turned(x, direction), g, rule, turned(h_diff, direction)
        )
        x_diff[...] = back(dx, direction)
        d1[...], d2[...], d3[...] = back(dg, direction)
        return
    from caffe_spn.cpu import recurrence_parallel as kernels

    planes = (-1, *x.shape[2:])
    with cpu.parallel_section():
        kernels.scan_planes_backward(
            *(a.reshape(planes) for a in (x, g1, g2, g3)),
            rule,
            direction,
            h_diff.reshape(planes),
            SET,
            _no_argmax(),
            checkpoints.reshape(x.shape[0] * x.shape[1], *checkpoints.shape[3:]),
            *(a.reshape(planes) for a in (x_diff, d1, d2, d3)),
            False,
            _slots(x.shape),
        )


def propagate(
    x: np.ndarray,
    guidance: np.ndarray,
    out: np.ndarray,
    connection: int = THREE_WAY,
    normalization: int = SUM_ABS,
    integration: int = MAXIMUM,
    argmax: np.ndarray | None = None,
    checkpoints: np.ndarray | None = None,
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
    checkpoints : of `checkpoints_shape(x.shape, 4, dtype)`, optional
        Both are given for training: `propagate_backward` starts from them.
    """
    training = argmax is not None
    rule = make_rule(connection, normalization, x.dtype)
    how, factor = make_join(integration, training, x.dtype)
    winners = argmax if how == ARGMAX else _no_argmax()
    if not _fast(x.dtype):
        recurrence_numpy.propagate_forward(x, guidance, rule, how, factor, out, winners)
        return
    from caffe_spn.cpu import recurrence_parallel as kernels

    kept = _no_checkpoints(x.shape, 4) if checkpoints is None else checkpoints
    with cpu.parallel_section():
        parts = _parts(out)
        kernels.propagate_forward(
            x, guidance, rule, how, factor, parts, winners, kept, _slots(x.shape)
        )
        if len(parts) > 1:
            kernels.join_parts(
                parts.reshape(len(parts), -1), how, factor, out.reshape(-1), winners.reshape(-1)
            )


def propagate_backward(
    x: np.ndarray,
    guidance: np.ndarray,
    out_diff: np.ndarray,
    argmax: np.ndarray,
    checkpoints: np.ndarray,
    x_diff: np.ndarray,
    guidance_diff: np.ndarray,
    connection: int = THREE_WAY,
    normalization: int = SUM_ABS,
    integration: int = MAXIMUM,
    add_to_guidance: bool = False,
) -> None:
    """Derivatives of `propagate`, from those of its result.

    `x_diff` is overwritten (it may not be `out_diff`), `guidance_diff` too, or added to where
    units share their gates.
    """
    rule = make_rule(connection, normalization, x.dtype)
    how, factor = make_join(integration, True, x.dtype)
    winners = argmax if how == ARGMAX else _no_argmax()
    if not _fast(x.dtype):
        recurrence_numpy.propagate_backward(
            x, guidance, rule, how, factor, winners, out_diff, x_diff, guidance_diff,
            add_to_guidance,
        )  # fmt: skip
        return
    from caffe_spn.cpu import recurrence_parallel as kernels

    with cpu.parallel_section():
        parts = _parts(x_diff)
        kernels.propagate_backward(
            x, guidance, rule, how, factor, winners, checkpoints, out_diff, parts, guidance_diff,
            add_to_guidance, _slots(x.shape),
        )  # fmt: skip
        if len(parts) > 1:
            one = x.dtype.type(1)
            kernels.join_parts(
                parts.reshape(len(parts), -1),
                ADD,
                one,
                x_diff.reshape(-1),
                _no_argmax().reshape(-1),
            )


def _fast(dtype) -> bool:
    return np.dtype(dtype) == np.float32 and cpu.compiled()


def _parts(out: np.ndarray) -> np.ndarray:
    """Where the directions write: all to `out`, or each to memory of its own."""
    from caffe_spn.cpu.scratch import scratch

    planes = out.shape[0] * out.shape[1]
    if planes >= PLANES_FOR_EACH_THREAD * cpu.thread_count():
        return out[np.newaxis]
    return scratch("recurrence parts", 4, *out.shape)


def _slots(shape: tuple[int, ...]) -> np.ndarray:
    """Each thread's working memory."""
    import numba

    from caffe_spn.cpu.scratch import scratch

    longest = max(shape[2:])
    # One more cache line than needed, so that rows do not all begin at the same place of a page.
    row = -(-(longest + 2) // 16) * 16 + 16
    return scratch("recurrence slots", numba.config.NUMBA_NUM_THREADS, SLOTS, BLOCK + 2, row)


def _no_argmax() -> np.ndarray:
    return np.empty((0, 0, 0, 0), np.uint8)


def _no_checkpoints(shape: tuple[int, ...], directions: int) -> np.ndarray:
    return np.empty((shape[0], shape[1], directions, 0, 0), np.float32)
