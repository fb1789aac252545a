"""The recurrence one scan step at a time: the innermost loops, each a straight pass over k.

A row is all positions k of one scan step t. Rows of hidden values carry one extra element at
each end, the halo: with x[k] in it, the term of a gate that points out of the map is
g (x - x) = 0, which is what the definition asks for ("such a gate counts as 0, in the products
and in the (1 - sum) term"), and no position needs a case of its own.

Gates are normalised on the way: r = 1 / max(weight s, floor) with s = |g1| + |g2| + |g3| and
(weight, floor) as `recurrence_rules` has them for each normalisation.

These functions take rows rather than whole blocks because the compiler can only use vector
registers where it sees that the row before and the row it writes are different memory.

Source: "Learning Affinity via Spatial Propagation Networks", Liu et al., NeurIPS 2017,
equations 1 and 6; the derivatives are equations 12 and 13 with the normalisation's added.
"""

import numpy as np

from caffe_spn.cpu.jit import jit

ZERO = np.float32(0)
ONE = np.float32(1)


@jit()
def forward_three(width, x, g1, g2, g3, before, h, weight, floor):
    """h = x + r g1 (up - x) + r g2 (same - x) + r g3 (down - x); `before`, `h` have halos."""
    up = before[0:width]
    same = before[1 : width + 1]
    down = before[2 : width + 2]
    h = h[1 : width + 1]
    for k in range(width):
        v = x[k]
        a, b, c = g1[k], g2[k], g3[k]
        r = ONE / max(weight * (abs(a) + abs(b) + abs(c)), floor)
        h[k] = v + r * (a * (up[k] - v) + b * (same[k] - v) + c * (down[k] - v))


@jit()
def forward_one(width, x, g2, before, h, weight, floor):
    """h = x + r g2 (same - x): the one-way connection, with s = |g2|."""
    same = before[1 : width + 1]
    h = h[1 : width + 1]
    for k in range(width):
        v = x[k]
        b = g2[k]
        r = ONE / max(weight * abs(b), floor)
        h[k] = v + r * b * (same[k] - v)


@jit(inline="always")
def with_sign_of(value, gate):
    """value * sign(gate), where sign(0) is 0: the derivative of Caffe's AbsVal."""
    return value if gate > ZERO else (-value if gate < ZERO else ZERO)


@jit()
def backward_three(width, x, g, before, out_diff, after, carry, g_diff, x_diff, weight, floor):
    """Derivatives of one row of `forward_three`.

    `g` and `g_diff` are tuples of three rows. `carry` (3, width + 2) receives what each gate
    passes on to the row before it, r g h_diff; `after` is the carry of the row after this one,
    which with the row's own `out_diff` makes up h_diff. Both have halos that stay zero.
    """
    g1, g2, g3 = g
    d1, d2, d3 = g_diff
    up = before[0:width]
    same = before[1 : width + 1]
    down = before[2 : width + 2]
    after1 = after[0, 2 : width + 2]
    after2 = after[1, 1 : width + 1]
    after3 = after[2, 0:width]
    carry1 = carry[0, 1 : width + 1]
    carry2 = carry[1, 1 : width + 1]
    carry3 = carry[2, 1 : width + 1]
    for k in range(width):
        v = x[k]
        u = out_diff[k] + after1[k] + after2[k] + after3[k]
        a, b, c = g1[k], g2[k], g3[k]
        s = weight * (abs(a) + abs(b) + abs(c))
        r = ONE / max(s, floor)
        e1, e2, e3 = up[k] - v, same[k] - v, down[k] - v
        u_r = u * r
        shared = r * u_r * (a * e1 + b * e2 + c * e3)
        # Below the floor the divisor is a constant and has no derivative. NaN is not below.
        shared = ZERO if s <= floor else shared
        d1[k] = u_r * e1 - with_sign_of(shared, a)
        d2[k] = u_r * e2 - with_sign_of(shared, b)
        d3[k] = u_r * e3 - with_sign_of(shared, c)
        a *= u_r
        b *= u_r
        c *= u_r
        carry1[k] = a
        carry2[k] = b
        carry3[k] = c
        x_diff[k] = u - a - b - c
    # At the two ends the gate that points out of the map has no share in (1 - sum).
    carry1[0] = ZERO
    carry3[width - 1] = ZERO
    for k in (0, width - 1):
        u = out_diff[k] + after1[k] + after2[k] + after3[k]
        x_diff[k] = u - carry1[k] - carry2[k] - carry3[k]


@jit()
def backward_one(width, x, g2, before, out_diff, after, carry, d2, x_diff, weight, floor):
    """Derivatives of one row of `forward_one`; see `backward_three`."""
    same = before[1 : width + 1]
    after2 = after[1, 1 : width + 1]
    carry2 = carry[1, 1 : width + 1]
    for k in range(width):
        v = x[k]
        u = out_diff[k] + after2[k]
        b = g2[k]
        s = weight * abs(b)
        r = ONE / max(s, floor)
        u_r = u * r
        # Above the floor the gate is sign(b), a constant. (Times u_r, so that NaN stays NaN.)
        d2[k] = u_r * (same[k] - v if s <= floor else ZERO)
        b *= u_r
        carry2[k] = b
        x_diff[k] = u - b


@jit()
def backward_first(width, out_diff, after, x_diff):
    """Derivatives of the row where a scan begins: h = x."""
    for k in range(width):
        x_diff[k] = out_diff[k] + after[0, k + 2] + after[1, k + 1] + after[2, k]


@jit()
def copy(width, source, target):
    for k in range(width):
        target[k] = source[k]
