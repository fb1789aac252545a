"""How the results of the four directions become one, and how its derivative is shared out.

`how` is SET (the first direction), ADD (sum or mean), MAX, or ARGMAX (the maximum for training,
which notes in `argmax` which direction gave it). NaN counts as larger than any number, so that
it is never lost; on equal values the first direction wins. SET and ADD multiply by `factor`,
1 or, at the last of four directions to be averaged, 1/4.
"""

from caffe_spn.cpu.jit import jit
from caffe_spn.cpu.recurrence_rows import ZERO
from caffe_spn.cpu.recurrence_rules import ADD, ARGMAX, MAX, SET


@jit()
def join(how, factor, source, halo, target, window, argmax, direction):
    """Join rows to a window of `target`; `source` may have halos around its rows."""
    top, left, height, width = window
    for t in range(height):
        row = source[halo + t, halo:]
        out = target[top + t, left : left + width]
        if how == SET:
            # Not a plain copy: for that the compiler would call memcpy, slow on short rows.
            for k in range(width):
                out[k] = row[k] * factor
        elif how == ADD:
            for k in range(width):
                out[k] = (out[k] + row[k]) * factor
        elif how == MAX:
            for k in range(width):
                new = row[k]
                out[k] = new if new > out[k] or new != new else out[k]
        else:
            winner = argmax[top + t, left : left + width]
            for k in range(width):
                new = row[k]
                wins = new > out[k] or new != new
                out[k] = new if wins else out[k]
                winner[k] = direction if wins else winner[k]


@jit()
def share(how, factor, out_diff, window, argmax, direction, target):
    """The part of a window of the result's derivative that belongs to one direction."""
    top, left, height, width = window
    for t in range(height):
        row = out_diff[top + t, left : left + width]
        part = target[t]
        if how == ARGMAX:
            winner = argmax[top + t, left : left + width]
            for k in range(width):
                part[k] = row[k] if winner[k] == direction else ZERO
        else:
            for k in range(width):
                part[k] = row[k] * factor
