"""Launches ``copy.cu``: parts of arrays cut out, joined, repeated and added up."""

from __future__ import annotations

import math
from collections.abc import Sequence

from caffe_spn.cuda.arguments import check, vector_blocks
from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.runtime import THREADS, runtime
from caffe_spn.errors import ShapeError

SOURCE = "copy.cu"
# As many arrays as one launch takes.
MOST = 8


def cut(
    whole: DeviceArray, pieces: Sequence[DeviceArray | None], sizes: Sequence[int], axis: int
) -> None:
    """Copy consecutive pieces of `whole` along an axis into arrays of their own.

    Parameters
    ----------
    whole : DeviceArray
    pieces : sequence of DeviceArray or None
        None for a piece that is not wanted.
    sizes : sequence of int
        The pieces' sizes along `axis`; their sum is that of `whole`.
    axis : int
    """
    _move("cut", whole, pieces, sizes, axis)


def join(
    pieces: Sequence[DeviceArray | None], whole: DeviceArray, sizes: Sequence[int], axis: int
) -> None:
    """Copy arrays into `whole`, one after the other along an axis; None leaves a gap."""
    _move("join", whole, pieces, sizes, axis)


def _move(kernel: str, whole: DeviceArray, pieces, sizes, axis: int) -> None:
    outer, inner = math.prod(whole.shape[:axis]), math.prod(whole.shape[axis + 1 :])
    if sum(sizes) != whole.shape[axis]:
        raise ShapeError(
            f"{kernel}: pieces of {list(sizes)} do not make up axis {axis} of {whole.shape}"
        )
    check(kernel, whole=whole)
    first = 0
    for begin in range(0, len(sizes), MOST):
        group, lengths = pieces[begin : begin + MOST], sizes[begin : begin + MOST]
        ends, span = [], 0
        for piece, length in zip(group, lengths, strict=True):
            if piece is not None:
                check(kernel, outer * length * inner, piece=piece)
            span += length * inner
            ends.append(span)
        if outer * span and any(piece is not None for piece in group):
            runtime().launch(
                SOURCE,
                kernel,
                vector_blocks(outer * span),
                THREADS,
                whole,
                *_filled(group, None),
                *_filled(ends, span),
                whole.shape[axis] * inner,
                first,
                outer * span,
            )
        first += span


def add_up(terms: Sequence[DeviceArray], total: DeviceArray) -> None:
    """total = terms[0] + terms[1] + ..., in this order."""
    count = check("add_up", total.size, **{f"term{i}": term for i, term in enumerate(terms)})
    check("add_up", total=total)
    if not count:
        return
    group, rest = list(terms[:MOST]), list(terms[MOST:])
    while group:
        runtime().launch(
            SOURCE, "add_up", vector_blocks(count), THREADS, total, *_filled(group, None), count
        )
        group, rest = rest and [total, *rest[: MOST - 1]], rest[MOST - 1 :]


def _filled(values: Sequence, filler) -> list:
    """As many values as a kernel's list has."""
    return [*values, *[filler] * (MOST - len(values))]


def cut_window(whole: DeviceArray, part: DeviceArray, starts: Sequence[int]) -> None:
    """part = whole[starts[0] : starts[0] + part.shape[0], ...]."""
    _window("cut_window", whole, part, starts)


def put_window(part: DeviceArray, whole: DeviceArray, starts: Sequence[int]) -> None:
    """whole[starts[0] : starts[0] + part.shape[0], ...] = part; the rest stays."""
    _window("put_window", whole, part, starts)


def _window(kernel: str, whole: DeviceArray, part: DeviceArray, starts: Sequence[int]) -> None:
    fits = len(whole.shape) == len(part.shape) == len(starts) and all(
        0 <= start <= start + size <= of
        for start, size, of in zip(starts, part.shape, whole.shape, strict=True)
    )
    if not fits:
        raise ShapeError(f"{kernel}: {part.shape} from {tuple(starts)} on is not in {whole.shape}")
    check(kernel, whole=whole)
    check(kernel, part=part)
    if part.size:
        axes = _joined_axes(whole.shape, part.shape, starts)
        _launch_window(kernel, whole, part, axes)


def _joined_axes(whole, part, starts) -> list[tuple[int, int, int]]:
    """(size in the whole, size in the part, start) of axes, with those joined that go together.

    An axis that is there completely is one with the axis before it.
    """
    axes: list[tuple[int, int, int]] = []
    for of, size, start in zip(whole, part, starts, strict=True):
        if axes and of == size:
            before = axes.pop()
            axes.append(tuple(n * of for n in before))
        else:
            axes.append((of, size, start))
    return axes


def _launch_window(kernel: str, whole: DeviceArray, part: DeviceArray, axes) -> None:
    # The kernel knows four axes. More of them are rare, and take a launch for each entry.
    of, size, first = axes[0] if axes else (1, 1, 0)
    if len(axes) > 4:
        step, count = whole.size // of, part.size // size
        for i in range(size):
            _launch_window(
                kernel,
                whole.part((first + i) * step, (step,)),
                part.part(i * count, (count,)),
                axes[1:],
            )
        return
    axes = [(1, 1, 0)] * (4 - len(axes)) + list(axes)
    strides = [math.prod(of for of, _, _ in axes[k:]) for k in (1, 2, 3)]
    start = sum(first * stride for (_, _, first), stride in zip(axes, [*strides, 1], strict=True))
    sizes = [size for _, size, _ in axes[1:]]
    runtime().launch(
        SOURCE,
        kernel,
        vector_blocks(part.size),
        THREADS,
        whole,
        part,
        *sizes,
        *strides,
        start,
        part.size,
    )


def tile_forward(bottom: DeviceArray, top: DeviceArray, tiles: int, inner: int) -> None:
    """Repeat each stretch of `inner` elements `tiles` times."""
    check("tile_forward", bottom.size * tiles, top=top)
    check("tile_forward", bottom=bottom)
    if top.size:
        runtime().launch(
            SOURCE,
            "tile_forward",
            vector_blocks(top.size),
            THREADS,
            bottom,
            top,
            tiles,
            inner,
            top.size,
        )


def tile_backward(top_diff: DeviceArray, bottom_diff: DeviceArray, tiles: int, inner: int) -> None:
    """Add the tiles up."""
    check("tile_backward", bottom_diff.size * tiles, top_diff=top_diff)
    check("tile_backward", bottom_diff=bottom_diff)
    if bottom_diff.size:
        runtime().launch(
            SOURCE,
            "tile_backward",
            vector_blocks(bottom_diff.size),
            THREADS,
            top_diff,
            bottom_diff,
            tiles,
            inner,
            bottom_diff.size,
        )
