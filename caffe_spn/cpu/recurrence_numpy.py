"""The recurrence in plain NumPy, for float64 and where Numba is not installed.

One column after another, all planes and rows of it at once. Any float type; a fifth of the
compiled kernels' speed at best, and the same values: derivatives are computed from hidden
values that are computed again, as there.
"""

from __future__ import annotations

import numpy as np

from caffe_spn.cpu.recurrence_rules import ARGMAX, MAX, Rule


def turned(array: np.ndarray, direction: int) -> np.ndarray:
    """A view in which direction `direction` scans the last axis forwards; its own inverse."""
    if direction >= 2:
        array = np.swapaxes(array, -1, -2)
    return array[..., ::-1] if direction % 2 else array


def turned_back(array: np.ndarray, direction: int) -> np.ndarray:
    """The inverse of `turned`."""
    array = array[..., ::-1] if direction % 2 else array
    return np.swapaxes(array, -1, -2) if direction >= 2 else array


def neighbours(column: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A column's values at k - 1 and k + 1; beyond the map, x, so that its gate has no effect."""
    up = np.concatenate([x[..., :1], column[..., :-1]], axis=-1)
    down = np.concatenate([column[..., 1:], x[..., -1:]], axis=-1)
    return up, down


def normalise(g: np.ndarray, rule: Rule) -> tuple[np.ndarray, np.ndarray]:
    """r = 1 / max(weight s, floor), and where it depends on s; the gates are on axis 0."""
    s = rule.weight * np.abs(g).sum(axis=0)
    return 1 / np.maximum(s, rule.floor), ~(s <= rule.floor)


def scan(x: np.ndarray, g: np.ndarray, rule: Rule) -> np.ndarray:
    """Hidden values of a left-to-right scan: x (..., H, W), g (gates, ..., H, W)."""
    r = normalise(g, rule)[0]
    h = x.copy()
    for t in range(1, x.shape[-1]):
        v, before, gate = x[..., t], h[..., t - 1], g[..., t]
        if rule.three_way:
            up, down = neighbours(before, v)
            change = gate[0] * (up - v) + gate[1] * (before - v) + gate[2] * (down - v)
        else:
            change = gate[0] * (before - v)
        h[..., t] = v + r[..., t] * change
    return h


def scan_backward(
    x: np.ndarray, g: np.ndarray, rule: Rule, h_diff: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives by x and by g of `scan`."""
    h = scan(x, g, rule)
    r, depends = normalise(g, rule)
    x_diff, g_diff = np.empty_like(x), np.zeros_like(g)
    u = h_diff[..., -1]
    for t in range(x.shape[-1] - 1, 0, -1):
        v, before, gate = x[..., t], h[..., t - 1], g[..., t]
        if rule.three_way:
            up, down = neighbours(before, v)
            step = np.stack([up - v, before - v, down - v])
        else:
            step = (before - v)[np.newaxis]
        u_r = u * r[..., t]
        shared = np.where(depends[..., t], r[..., t] * u_r * (gate * step).sum(axis=0), 0)
        if rule.three_way:
            g_diff[..., t] = u_r * step - np.sign(gate) * shared
        else:
            # Of a single gate, r makes a sign, whose derivative is 0 and no rounding of it.
            g_diff[..., t] = np.where(depends[..., t], 0, u_r * step)
        carry = gate * u_r
        if rule.three_way:
            # The gates that point out of the map: no share in (1 - sum), nothing passed on.
            carry[0, ..., 0] = 0
            carry[2, ..., -1] = 0
        x_diff[..., t] = u - carry.sum(axis=0)
        u = h_diff[..., t - 1] + (carry[1] if rule.three_way else carry[0])
        if rule.three_way:
            u[..., :-1] += carry[0, ..., 1:]
            u[..., 1:] += carry[2, ..., :-1]
    x_diff[..., 0] = u
    return x_diff, g_diff


def gates_of(guidance: np.ndarray, direction: int, rule: Rule, channels: int) -> np.ndarray:
    """A direction's gates as (gates, N, C, H, W), a view of `guidance`."""
    N, _, H, W = guidance.shape
    count = 3 if rule.three_way else 1
    blocks = guidance.reshape(N, 4, count, channels, H, W)
    return np.moveaxis(blocks[:, direction], 1, 0)


def propagate_forward(
    x: np.ndarray,
    guidance: np.ndarray,
    rule: Rule,
    how: int,
    factor: float,
    out: np.ndarray,
    argmax: np.ndarray,
) -> None:
    """Scan in four directions and join the results to `out`."""
    for d in range(4):
        g = turned(gates_of(guidance, d, rule, x.shape[1]), d)
        h = turned_back(scan(turned(x, d), g, rule), d)
        if d == 0:
            out[...] = h
            if how == ARGMAX:
                argmax[...] = 0
        elif how in (MAX, ARGMAX):
            wins = (h > out) | np.isnan(h)
            np.copyto(out, h, where=wins)
            if how == ARGMAX:
                argmax[wins] = d
        else:
            out += h
    if how not in (MAX, ARGMAX):
        out *= factor


def propagate_backward(
    x: np.ndarray,
    guidance: np.ndarray,
    rule: Rule,
    how: int,
    factor: float,
    argmax: np.ndarray,
    out_diff: np.ndarray,
    x_diff: np.ndarray,
    guidance_diff: np.ndarray,
    add_to_guidance: bool,
) -> None:
    """Derivatives of `propagate_forward`; guidance_diff is replaced or added to."""
    x_diff[...] = 0
    if not add_to_guidance:
        guidance_diff[...] = 0
    for d in range(4):
        g = turned(gates_of(guidance, d, rule, x.shape[1]), d)
        part = np.where(argmax == d, out_diff, 0) if how == ARGMAX else out_diff * factor
        dx, dg = scan_backward(turned(x, d), g, rule, turned(part, d))
        x_diff += turned_back(dx, d)
        gates_of(guidance_diff, d, rule, x.shape[1])[...] += turned_back(dg, d)
