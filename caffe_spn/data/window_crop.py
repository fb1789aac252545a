"""Where a window of an image ends up in a square patch, with context around it.

Source: `WindowDataLayer` of BVLC Caffe, whose float32 arithmetic and rounding these keep.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from caffe_spn.data.images import resize


@dataclass(frozen=True)
class Crop:
    """A part of an image, and its place in the patch.

    Attributes
    ----------
    x1, y1, x2, y2 : int
        The first and the last column and row of the part.
    height, width : int
        What it is resized to.
    top, left : int
        Where it stands in the patch; around it the patch is zero.
    """

    x1: int
    y1: int
    x2: int
    y2: int
    height: int
    width: int
    top: int = 0
    left: int = 0

    def fits(self, height: int, width: int) -> bool:
        """Whether the part has an area, lies in an image of this size, and leaves something."""
        return (
            0 <= self.x1 <= self.x2 < width
            and 0 <= self.y1 <= self.y2 < height
            and self.height > 0
            and self.width > 0
        )


def plain(box: tuple[int, int, int, int], size: int) -> Crop:
    """The crop that warps a window to the whole patch."""
    return Crop(*box, size, size)


def with_context(
    box: tuple[int, int, int, int],
    image_size: tuple[int, int],
    size: int,
    context: int,
    square: bool,
    mirrored: bool,
) -> Crop:
    """The crop that leaves a margin of context around the window.

    Parameters
    ----------
    box : (x1, y1, x2, y2)
    image_size : (height, width)
    size : int
        Of the patch.
    context : int
        The margin, in pixels of the patch.
    square : bool
        Take a square around the window instead of changing its proportions.
    mirrored : bool
        The patch will be mirrored, and so must the margin be that lies outside the image.
    """
    x1, y1, x2, y2 = _widen(box, size, context, square)
    height, width = image_size
    # What lies outside the image on each side.
    left, top = max(0, -x1), max(0, -y1)
    right, bottom = max(0, x2 - width + 1), max(0, y2 - height + 1)
    scale_x = np.float32(size) / np.float32(x2 - x1 + 1)
    scale_y = np.float32(size) / np.float32(y2 - y1 + 1)
    x1, y1, x2, y2 = x1 + left, y1 + top, x2 - right, y2 - bottom
    pad_top = _round(np.float32(top) * scale_y)
    pad_left = _round(np.float32(right if mirrored else left) * scale_x)
    # Rounding may make part and margin larger than the patch together.
    new_height = min(_round(np.float32(y2 - y1 + 1) * scale_y), size - pad_top)
    new_width = min(_round(np.float32(x2 - x1 + 1) * scale_x), size - pad_left)
    return Crop(x1, y1, x2, y2, new_height, new_width, pad_top, pad_left)


def cut(image: np.ndarray, crop: Crop, mirrored: bool) -> np.ndarray:
    """The part of an image (H, W, C), resized and mirrored, (C, crop.height, crop.width)."""
    part = image[crop.y1 : crop.y2 + 1, crop.x1 : crop.x2 + 1]
    part = resize(part, crop.height, crop.width)
    return np.moveaxis(part[:, ::-1] if mirrored else part, 2, 0)


def _widen(box, size: int, context: int, square: bool) -> tuple[int, int, int, int]:
    x1, y1, x2, y2 = box
    scale = np.float32(size) / np.float32(size - 2 * context)
    half_height, half_width = np.float32((y2 - y1 + 1) / 2), np.float32((x2 - x1 + 1) / 2)
    center_x, center_y = np.float32(x1) + half_width, np.float32(y1) + half_height
    if square:
        half_height = half_width = max(half_height, half_width)
    return (
        _round(center_x - half_width * scale),
        _round(center_y - half_height * scale),
        _round(center_x + half_width * scale),
        _round(center_y + half_height * scale),
    )


def _round(value) -> int:
    """C's `round`: halves go away from zero."""
    return int(math.copysign(math.floor(abs(float(value)) + 0.5), value))
