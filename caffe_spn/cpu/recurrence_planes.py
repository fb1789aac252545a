"""One direction of the recurrence over one plane, in blocks of scan steps.

Directions are numbered left-right 0, right-left 1, top-bottom 2, bottom-top 3. A block, with x,
the gates and the hidden values, stays in the cache while it is turned (in horizontal scans),
scanned, and joined to the result; meanwhile the next one is fetched. Backward visits the blocks
last to first and computes the hidden values of each again, from the checkpoint that forward
kept of the step before it.

`slots` is a thread's own memory, (SLOTS, BLOCK + 2, at least max(H, W) + 2). Hidden values lie
in it in the order of memory, whatever the direction: step t of a block in row t + 1, so that
the step before it is in row t or, in reverse, in row t + 2. `rule` is a
`recurrence_rules.Rule`.
"""

import numpy as np

from caffe_spn.cpu import recurrence_rows as rows
from caffe_spn.cpu.jit import float_view, jit
from caffe_spn.cpu.recurrence_join import join, share
from caffe_spn.cpu.recurrence_rules import ADD, BLOCK, SET, SLOTS
from caffe_spn.cpu.recurrence_transpose import columns_to_rows, rows_to_columns
from caffe_spn.cpu.recurrence_window import FLOAT_BYTES, block_count, block_window, corner, fetch

HIDDEN, CARRY, X, G1, G2, G3, OUT_DIFF, D1, D2, D3, X_DIFF, TURNED = range(SLOTS)

# Where rows begin, with and without halos; NumPy integers for the reason in `recurrence_rules`.
FLUSH, HALO = np.arange(2)
FIRST = FLUSH


@jit()
def load(plane, window, vertical, slot):
    """The scan steps of a window as rows: as they lie, or turned into `slot`."""
    if vertical:
        return plane[window.top : window.top + window.height]
    columns_to_rows(plane, window.left, window.width, slot)
    return slot[: window.width]


@jit()
def load_gates(g, rule, window, vertical, slots):
    """A block of each gate; one-way, the middle one stands for all."""
    g2 = load(g[1], window, vertical, slots[G2])
    if not rule.three_way:
        return g2, g2, g2
    g1 = load(g[0], window, vertical, slots[G1])
    g3 = load(g[2], window, vertical, slots[G3])
    return g1, g2, g3


@jit()
def load_diff(plane, window, vertical, how, factor, argmax, direction, slots):
    """A block of the part of the result's derivative that belongs to `direction`, as rows."""
    target = slots[OUT_DIFF]
    if vertical:
        share(how, factor, plane, window, argmax, direction, target)
    else:
        part = float_view(slots[TURNED], (window.height, window.width))
        share(how, factor, plane, window, argmax, direction, part)
        columns_to_rows(part, FIRST, window.width, target)


@jit()
def store(source, halo, plane, window, vertical, how, factor, argmax, direction, slots):
    """Join a block of rows (with or without halos) to a window of a plane."""
    if vertical:
        join(how, factor, source, halo, plane, window, argmax, direction)
    elif how == SET and factor == rows.ONE:
        rows_to_columns(source, halo, plane, window.left, window.width)
    else:
        turned = float_view(slots[TURNED], (window.height, window.width))
        rows_to_columns(source, halo, turned, FIRST, window.width)
        join(how, factor, turned, FLUSH, plane, window, argmax, direction)


@jit()
def scan_block(x, g, rule, hidden, width, reverse, first, ahead, ahead_window):
    """Hidden values of one block, while the planes `ahead` are fetched.

    `first` marks the block where the scan begins.
    """
    g1, g2, g3 = g
    count = x.shape[0]
    row_bytes = ahead[0].shape[1] * FLOAT_BYTES
    width_bytes = ahead_window.width * FLOAT_BYTES
    a0, a1 = corner(ahead[0], ahead_window), corner(ahead[1], ahead_window)
    a2, a3 = corner(ahead[2], ahead_window), corner(ahead[3], ahead_window)
    rows_a_step = (ahead_window.height + count - 1) // count
    for i in range(count):
        fetched, soon = i * rows_a_step, min((i + 1) * rows_a_step, ahead_window.height)
        fetch(a0, row_bytes, fetched, soon, width_bytes)
        fetch(a2, row_bytes, fetched, soon, width_bytes)
        if rule.three_way:
            fetch(a1, row_bytes, fetched, soon, width_bytes)
            fetch(a3, row_bytes, fetched, soon, width_bytes)
        t = count - 1 - i if reverse else i
        h = hidden[t + 1]
        if first and i == 0:
            rows.copy(width, x[t], h[1:])
            continue
        before = hidden[t + 2 if reverse else t]
        before[0] = x[t, 0]
        before[width + 1] = x[t, width - 1]
        if rule.three_way:
            rows.forward_three(width, x[t], g1[t], g2[t], g3[t], before, h, rule.weight, rule.floor)
        else:
            rows.forward_one(width, x[t], g2[t], before, h, rule.weight, rule.floor)


@jit()
def scan_block_backward(x, g, rule, width, reverse, first, slots):
    """Derivatives of one block, from hidden values and OUT_DIFF to D1, D2, D3 and X_DIFF.

    The carry to the block before it ends up where the next call looks for it.
    """
    g1, g2, g3 = g
    count = x.shape[0]
    hidden, out_diff, x_diff = slots[HIDDEN], slots[OUT_DIFF], slots[X_DIFF]
    d1, d2, d3 = slots[D1], slots[D2], slots[D3]
    after, carry = slots[CARRY, 0:3], slots[CARRY, 3:6]
    for i in range(count - 1, -1, -1):
        t = count - 1 - i if reverse else i
        if first and i == 0:
            rows.backward_first(width, out_diff[t], after, x_diff[t])
            d1[t, :width] = 0
            d2[t, :width] = 0
            d3[t, :width] = 0
            continue
        before = hidden[t + 2 if reverse else t]
        before[0] = x[t, 0]
        before[width + 1] = x[t, width - 1]
        if rule.three_way:
            rows.backward_three(
                width,
                x[t],
                (g1[t], g2[t], g3[t]),
                before,
                out_diff[t],
                after,
                carry,
                (d1[t], d2[t], d3[t]),
                x_diff[t],
                rule.weight,
                rule.floor,
            )
        else:
            rows.backward_one(
                width,
                x[t],
                g2[t],
                before,
                out_diff[t],
                after,
                carry,
                d2[t],
                x_diff[t],
                rule.weight,
                rule.floor,
            )
        after, carry = carry, after
    if count % 2 == 1:
        slots[CARRY, 0:3] = slots[CARRY, 3:6]


@jit()
def scan_forward(x, g, rule, direction, out, how, factor, argmax, checkpoints, ahead, slots):
    """Scan a plane in one direction and join the result to `out`.

    Parameters
    ----------
    x, out : (H, W)
    g : three planes; one-way scans read the middle one only.
    how, factor, argmax : see `recurrence_join`.
    checkpoints : (blocks, L) or empty
        Receives the hidden values before each block but the first.
    ahead : four planes
        What the next scan will read first: x and the gates of the next direction.
    """
    vertical, reverse = direction >= 2, direction % 2 == 1
    width = x.shape[1] if vertical else x.shape[0]
    blocks = block_count(x.shape, direction)
    hidden = slots[HIDDEN]
    for turn in range(blocks):
        window = block_window(x.shape, direction, turn)
        if turn > 0:
            # The block before this one was full; it ended in its first or in its last row.
            entry = hidden[BLOCK + 1 if reverse else 0]
            rows.copy(width, hidden[1 if reverse else BLOCK, 1:], entry[1:])
            if checkpoints.size > 0:
                rows.copy(width, entry[1:], checkpoints[turn])
        x_block = load(x, window, vertical, slots[X])
        g_block = load_gates(g, rule, window, vertical, slots)
        if turn + 1 < blocks:
            soon = block_window(x.shape, direction, turn + 1)
            planes = (x, g[0], g[1], g[2])
        else:
            soon = block_window(x.shape, (direction + 1) % 4, FIRST)
            planes = ahead
        scan_block(x_block, g_block, rule, hidden, width, reverse, turn == 0, planes, soon)
        store(hidden, HALO, out, window, vertical, how, factor, argmax, direction, slots)


@jit()
def scan_backward(
    x,
    g,
    rule,
    direction,
    out_diff,
    how,
    factor,
    argmax,
    checkpoints,
    x_diff,
    add_to_x,
    g_diff,
    add_to_g,
    ahead,
    slots,
):
    """Derivatives of `scan_forward`; they replace or (`add_to_x`, `add_to_g`) join the old."""
    vertical, reverse = direction >= 2, direction % 2 == 1
    width = x.shape[1] if vertical else x.shape[0]
    blocks = block_count(x.shape, direction)
    hidden = slots[HIDDEN]
    slots[CARRY, :6] = 0
    join_x = ADD if add_to_x else SET
    join_g = ADD if add_to_g else SET
    one = rows.ONE
    for turn in range(blocks - 1, -1, -1):
        window = block_window(x.shape, direction, turn)
        x_block = load(x, window, vertical, slots[X])
        g_block = load_gates(g, rule, window, vertical, slots)
        if turn > 0:
            entry = hidden[x_block.shape[0] + 1 if reverse else 0]
            rows.copy(width, checkpoints[turn], entry[1:])
            soon = block_window(x.shape, direction, turn - 1)
            planes = (x, g[0], g[1], g[2])
        else:
            later = (direction + 1) % 4
            soon = block_window(x.shape, later, block_count(x.shape, later) - 1)
            planes = ahead
        scan_block(x_block, g_block, rule, hidden, width, reverse, turn == 0, planes, soon)
        load_diff(out_diff, window, vertical, how, factor, argmax, direction, slots)
        scan_block_backward(x_block, g_block, rule, width, reverse, turn == 0, slots)
        store(slots[X_DIFF], FLUSH, x_diff, window, vertical, join_x, one, argmax, direction, slots)
        store(slots[D2], FLUSH, g_diff[1], window, vertical, join_g, one, argmax, direction, slots)
        if rule.three_way:
            store(
                slots[D1], FLUSH, g_diff[0], window, vertical, join_g, one, argmax, direction, slots
            )
            store(
                slots[D3], FLUSH, g_diff[2], window, vertical, join_g, one, argmax, direction, slots
            )
