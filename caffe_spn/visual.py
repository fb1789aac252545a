"""Pictures of segmentations: palette PNG files, colours, and pictures side by side."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from caffe_spn.data.voc import voc_palette
from caffe_spn.errors import DataError, ShapeError

CAPTION_HEIGHT = 20
GAP = 4


def write_label_png(
    path: str | os.PathLike, labels: np.ndarray, palette: np.ndarray | None = None
) -> None:
    """Write class indices as an 8-bit palette PNG, as PASCAL VOC's files are.

    Parameters
    ----------
    path : path
    labels : array of int, (H, W)
        Values from 0 to 255; they are the pixel values of the file.
    palette : array of uint8, (256, 3), optional
        RGB; by default PASCAL VOC's colours.

    Raises
    ------
    DataError
        If a label does not fit into 8 bits.
    """
    from PIL import Image

    labels = np.asarray(labels)
    if labels.ndim != 2:
        raise ShapeError(f"labels are {labels.shape}; a label map is (height, width)")
    if labels.size and not 0 <= labels.min() <= labels.max() <= 255:
        raise DataError(
            f"labels go from {labels.min()} to {labels.max()}; a palette PNG takes 0 to 255",
            where=os.fspath(path),
        )
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette(_palette(palette).ravel().tolist())
    image.save(path, format="PNG", optimize=False)


def write_picture(path: str | os.PathLike, picture: np.ndarray) -> None:
    """Write an RGB picture, (H, W, 3) uint8; the name's ending says the format."""
    from PIL import Image

    Image.fromarray(np.ascontiguousarray(picture, np.uint8)).save(path)


def colorize(labels: np.ndarray, palette: np.ndarray | None = None) -> np.ndarray:
    """The colours of class indices (H, W): (H, W, 3) uint8 RGB."""
    return _palette(palette)[np.asarray(labels).astype(np.uint8)]


def overlay(
    image: np.ndarray, labels: np.ndarray, palette: np.ndarray | None = None, opacity: float = 0.6
) -> np.ndarray:
    """The colours of `labels` (H, W) laid over an RGB image (H, W, 3): (H, W, 3) uint8."""
    if image.shape[:2] != labels.shape:
        raise ShapeError(f"the image is {image.shape[:2]}, the labels are {labels.shape}")
    colors = colorize(labels, palette).astype(np.float32)
    return np.rint(image + (colors - image) * np.float32(opacity)).astype(np.uint8)


def side_by_side(panels: Sequence[tuple[str, np.ndarray]], long_side: int = 1024) -> np.ndarray:
    """Pictures in a row, each with its caption above it.

    Parameters
    ----------
    panels : sequence of (str, array)
        Captions and RGB pictures (H, W, 3), all of one size.
    long_side : int, default 1024
        Larger pictures are reduced to this many pixels on their longer side.

    Returns
    -------
    array of uint8, (h, w, 3)
    """
    from PIL import Image, ImageDraw

    shapes = {picture.shape for _, picture in panels}
    if len(shapes) != 1:
        raise ShapeError(f"pictures side by side must be of one size, not {sorted(shapes)}")
    height, width = next(iter(shapes))[:2]
    ratio = min(1.0, long_side / max(height, width))
    width, height = max(1, round(width * ratio)), max(1, round(height * ratio))
    size = (len(panels) * (width + GAP) - GAP, height + CAPTION_HEIGHT)
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    for index, (caption, picture) in enumerate(panels):
        panel = Image.fromarray(np.ascontiguousarray(picture, np.uint8))
        left = index * (width + GAP)
        canvas.paste(panel.resize((width, height), Image.Resampling.BOX), (left, CAPTION_HEIGHT))
        draw.text((left + 2, 3), caption, fill="black")
    return np.asarray(canvas)


def _palette(palette: np.ndarray | None) -> np.ndarray:
    colors = voc_palette()
    if palette is not None:
        given = np.asarray(palette, np.uint8).reshape(-1, 3)[:256]
        colors[: len(given)] = given
    return colors
