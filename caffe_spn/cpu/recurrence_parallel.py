"""The recurrence over whole blobs: parallel loops over planes, or planes and directions.

Called under the lock of `parallel_section` by `recurrence.py`, which explains the
arguments. All arrays are C-contiguous float32; `argmax` is uint8.
"""

from numba import get_thread_id, prange

from caffe_spn.cpu.jit import byte_view, float_view, jit
from caffe_spn.cpu.recurrence_join import join
from caffe_spn.cpu.recurrence_planes import FLUSH, scan_backward, scan_forward
from caffe_spn.cpu.recurrence_rows import ONE
from caffe_spn.cpu.recurrence_rules import ARGMAX, SET
from caffe_spn.cpu.recurrence_window import Window

DIRECTIONS = 4
CHUNK = 4096


@jit(inline="always")
def gate_planes(guidance, direction, three_way, n, c, shape):
    """The planes of a direction's three gates (one-way: its one gate, three times)."""
    _, C, H, W = shape
    if three_way:
        g = float_view(guidance[n], (DIRECTIONS * 3, C, H, W))
        i = direction * 3
        return g[i, c], g[i + 1, c], g[i + 2, c]
    g = float_view(guidance[n], (DIRECTIONS, C, H, W))
    return g[direction, c], g[direction, c], g[direction, c]


@jit(inline="always")
def planes_ahead(x, guidance, direction, three_way, n, c):
    """What the scan after this one reads: the next direction's planes, or the next channel's.

    After the last channel these are some other memory, which is only fetched, never used.
    """
    _, C, H, W = x.shape
    after = c + (direction + 1) // DIRECTIONS
    g1, g2, g3 = gate_planes(guidance, (direction + 1) % DIRECTIONS, three_way, n, after, x.shape)
    return float_view(x[n], (C, H, W))[after], g1, g2, g3


@jit(parallel=True)
def propagate_forward(x, guidance, rule, how, factor, parts, argmax, checkpoints, slots):
    """Propagate in four directions; parts[0] gets the joined result.

    With four `parts` each direction is a task of its own and parts[d] gets its result alone.
    """
    N, C, H, W = x.shape
    count = parts.shape[0]
    for task in prange(N * C * count):
        n, c, part = task // (C * count), task // count % C, task % count
        own = float_view(slots[get_thread_id()], slots.shape[1:])
        plane = float_view(x[n, c], (H, W))
        out = float_view(parts[part, n, c], (H, W))
        winner = byte_view(argmax[n, c], (H, W))
        kept = float_view(checkpoints[n, c], checkpoints.shape[2:])
        if how == ARGMAX and count == 1:
            winner[:] = 0
        first, last = part * DIRECTIONS // count, (part + 1) * DIRECTIONS // count - 1
        for d in range(first, last + 1):
            g = gate_planes(guidance, d, rule.three_way, n, c, x.shape)
            joined = SET if d == first else how
            by = factor if d == last and d > first else ONE
            ahead = planes_ahead(x, guidance, d, rule.three_way, n, c)
            scan_forward(plane, g, rule, d, out, joined, by, winner, kept[d], ahead, own)


@jit(parallel=True)
def join_parts(parts, how, factor, out, argmax):
    """Join the parts, each a row of (parts, size), in their order."""
    count, size = parts.shape
    for task in prange((size + CHUNK - 1) // CHUNK):
        start = task * CHUNK
        window = Window(0, start, 1, min(CHUNK, size - start))
        target = float_view(out, (1, size))
        winner = byte_view(argmax, (1, size))
        if how == ARGMAX:
            winner[0, start : start + CHUNK] = 0
        for d in range(count):
            part = float_view(parts[d, start : start + CHUNK], (1, window.width))
            joined = SET if d == 0 else how
            by = factor if d == count - 1 else ONE
            join(joined, by, part, FLUSH, target, window, winner, d)


@jit(parallel=True)
def propagate_backward(
    x,
    guidance,
    rule,
    how,
    factor,
    argmax,
    checkpoints,
    out_diff,
    parts,
    guidance_diff,
    add_to_guidance,
    slots,
):
    """Derivatives of `propagate_forward`; `parts` are x's, joined or one for each direction."""
    N, C, H, W = x.shape
    count = parts.shape[0]
    for task in prange(N * C * count):
        n, c, part = task // (C * count), task // count % C, task % count
        own = float_view(slots[get_thread_id()], slots.shape[1:])
        plane = float_view(x[n, c], (H, W))
        diff = float_view(out_diff[n, c], (H, W))
        x_diff = float_view(parts[part, n, c], (H, W))
        winner = byte_view(argmax[n, c], (H, W))
        kept = float_view(checkpoints[n, c], checkpoints.shape[2:])
        first, last = part * DIRECTIONS // count, (part + 1) * DIRECTIONS // count - 1
        for d in range(first, last + 1):
            g = gate_planes(guidance, d, rule.three_way, n, c, x.shape)
            g_diff = gate_planes(guidance_diff, d, rule.three_way, n, c, x.shape)
            scan_backward(
                plane,
                g,
                rule,
                d,
                diff,
                how,
                factor,
                winner,
                kept[d],
                x_diff,
                d > first,
                g_diff,
                add_to_guidance,
                planes_ahead(x, guidance, d, rule.three_way, n, c),
                own,
            )


@jit(parallel=True)
def scan_planes_forward(x, g1, g2, g3, rule, direction, h, how, argmax, checkpoints, slots):
    """One direction with gates from three blobs; arrays are (planes, H, W)."""
    planes, H, W = x.shape
    for p in prange(planes):
        plane = float_view(x[p], (H, W))
        g = (float_view(g1[p], (H, W)), float_view(g2[p], (H, W)), float_view(g3[p], (H, W)))
        out = float_view(h[p], (H, W))
        kept = float_view(checkpoints[p], checkpoints.shape[1:])
        own = float_view(slots[get_thread_id()], slots.shape[1:])
        unused = byte_view(argmax, (H, W))
        scan_forward(plane, g, rule, direction, out, how, ONE, unused, kept, (plane, *g), own)


@jit(parallel=True)
def scan_planes_backward(
    x, g1, g2, g3, rule, direction, h_diff, how, argmax, checkpoints, x_diff, d1, d2, d3, add, slots
):
    """Derivatives of `scan_planes_forward`."""
    planes, H, W = x.shape
    for p in prange(planes):
        plane = float_view(x[p], (H, W))
        g = (float_view(g1[p], (H, W)), float_view(g2[p], (H, W)), float_view(g3[p], (H, W)))
        out_diff = float_view(h_diff[p], (H, W))
        plane_diff = float_view(x_diff[p], (H, W))
        g_diff = (float_view(d1[p], (H, W)), float_view(d2[p], (H, W)), float_view(d3[p], (H, W)))
        kept = float_view(checkpoints[p], checkpoints.shape[1:])
        own = float_view(slots[get_thread_id()], slots.shape[1:])
        unused = byte_view(argmax, (H, W))
        scan_backward(
            plane,
            g,
            rule,
            direction,
            out_diff,
            how,
            ONE,
            unused,
            kept,
            plane_diff,
            add,
            g_diff,
            add,
            (plane, *g),
            own,
        )
