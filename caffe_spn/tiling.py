"""Cut a plane into overlapping tiles, and blend what was computed for them without seams."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from caffe_spn.errors import ShapeError


@dataclass
class Span:
    """One tile along one axis: where it starts, and the weight of each of its pixels."""

    start: int
    weight: np.ndarray

    @property
    def stop(self) -> int:
        return self.start + len(self.weight)


def spans(size: int, tile: int, overlap: int, multiple: int = 1) -> list[Span]:
    """Tiles that cover `size` pixels, with weights that sum to one at each pixel.

    Parameters
    ----------
    size : int
        Pixels to cover; a multiple of `multiple`.
    tile : int
        Pixels of one tile; likewise.
    overlap : int
        Pixels that neighbours share at least.
    multiple : int, default 1
        Tiles start at multiples of it, so that a net's strides fall on the same pixels in every
        tile.

    Returns
    -------
    list of Span
        One, if `tile` reaches over `size`.

    Raises
    ------
    ShapeError
        If the tiles would not advance.

    Notes
    -----
    Pixels next to a tile's inner border lack what lies beyond it. Their weight is zero for a
    quarter of the overlap and then rises smoothly to one.
    """
    if size <= tile:
        return [Span(0, np.ones(size, np.float32))]
    step = (tile - overlap) // multiple * multiple
    if step <= 0 or tile % multiple or size % multiple:
        raise ShapeError(
            f"tiles of {tile} pixels with an overlap of {overlap} cannot cover {size} pixels"
            f" (the net needs multiples of {multiple})",
            help="make tiles larger, or the overlap smaller",
        )
    starts = [*range(0, size - tile, step), size - tile]
    found = [Span(start, _window(tile, overlap, start > 0, start < starts[-1])) for start in starts]
    total = np.zeros(size, np.float64)
    for span in found:
        total[span.start : span.stop] += span.weight
    for span in found:
        span.weight = (span.weight / total[span.start : span.stop]).astype(np.float32)
    return found


def _window(tile: int, overlap: int, fade_in: bool, fade_out: bool) -> np.ndarray:
    margin = overlap // 4
    position = (np.arange(overlap) + 0.5 - margin) / max(overlap - 2 * margin, 1)
    # Below any rounding, but not zero: an overlap of 0 or 1 must leave no pixel without weight.
    ramp = np.maximum((1 - np.cos(np.pi * np.clip(position, 0, 1))) / 2, 1e-30)
    window = np.ones(tile)
    if fade_in and overlap:
        window[:overlap] *= ramp
    if fade_out and overlap:
        window[-overlap:] *= ramp[::-1]
    return window
