"""Coarse probability maps: read from files, or made from labels.

A made map imitates what a segmentation network of low resolution gets wrong: its borders are
displaced smoothly, it knows only one value for each cell of pixels, and it is unsure.
"""

from __future__ import annotations

import numpy as np

from caffe_spn.errors import DataError

# Pixels between the nodes of the random field that displaces borders.
WARP_GRID = 32


def make_coarse(
    label: np.ndarray,
    num_classes: int,
    rng: np.random.Generator,
    factor: int = 8,
    warp: float = 3.0,
    noise: float = 0.1,
    shift: int = 2,
    ignore_label: int = 255,
) -> np.ndarray:
    """A coarse probability map as a low-resolution network might give it for this ground truth.

    1. The label map is warped by a smooth random field of standard deviation `warp`, given on
       nodes 32 pixels apart, and shifted by up to `shift` pixels along either axis.
    2. Each cell of `factor` x `factor` pixels gets the shares of the classes in it.
    3. Noise of standard deviation `noise` is added, negative values become 0, and each cell is
       divided by its sum.
    4. The cells are interpolated bilinearly back to the size of the label map.

    Parameters
    ----------
    label : array of int, (H, W)
        Class indices. Ignored pixels take part in no share; a cell of nothing else gets
        1 / num_classes for every class.
    num_classes : int
    rng : numpy Generator
        Equal generators give equal maps.
    factor : int, default 8
    warp, noise : float, default 3.0 and 0.1
    shift : int, default 2
    ignore_label : int, default 255

    Returns
    -------
    array of float32, (num_classes, H, W)
        Non-negative; the classes of a pixel sum to one.

    Raises
    ------
    DataError
        If a label is neither a class nor ignored.

    Examples
    --------
    >>> label = np.zeros((32, 48), np.uint8)
    >>> label[8:, 20:] = 1
    >>> make_coarse(label, 2, np.random.default_rng(0)).shape
    (2, 32, 48)
    """
    check_classes(label, num_classes, ignore_label)
    height, width = label.shape
    offset = rng.integers(-shift, shift + 1, 2)
    field = _smooth_field(rng, height, width, warp)
    rows = np.arange(height)[:, None] + offset[0] + field[0]
    columns = np.arange(width)[None, :] + offset[1] + field[1]
    rows = np.clip(np.rint(rows), 0, height - 1).astype(np.intp)
    columns = np.clip(np.rint(columns), 0, width - 1).astype(np.intp)
    cells = _class_shares(label[rows, columns], num_classes, factor, ignore_label)
    cells += rng.normal(0, noise, cells.shape).astype(np.float32)
    cells = _normalize(np.maximum(cells, 0))
    return _upsample_cells(cells, height, width, factor)


def resize_coarse(coarse: np.ndarray, height: int, width: int) -> np.ndarray:
    """Interpolate a (K, h, w) map bilinearly to (K, height, width), whatever the sizes."""
    if coarse.shape[1:] == (height, width):
        return np.ascontiguousarray(coarse, np.float32)
    return sample_coarse(coarse, height, width, np.arange(height), np.arange(width))


def sample_coarse(
    coarse: np.ndarray, height: int, width: int, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """Some rows and columns of what `resize_coarse` gives, without the rest of it."""
    rows = _interpolation(coarse.shape[1], (rows + 0.5) * coarse.shape[1] / height)
    columns = _interpolation(coarse.shape[2], (columns + 0.5) * coarse.shape[2] / width)
    return _interpolate(coarse, rows, columns)


def check_classes(
    label: np.ndarray, num_classes: int, ignore_label: int, where: str | None = None
) -> None:
    """Raise DataError when a label is neither below `num_classes` nor `ignore_label`."""
    counts = np.bincount(label.ravel())
    wrong = [v for v in np.flatnonzero(counts) if v >= num_classes and v != ignore_label]
    if wrong:
        raise DataError(
            f"has {counts[wrong[0]]} pixels of label {wrong[0]};"
            f" {num_classes} classes go from 0 to {num_classes - 1}",
            where=where,
            help=f"raise num_classes, or mark pixels to skip with the ignore label {ignore_label}",
        )


def _smooth_field(
    rng: np.random.Generator, height: int, width: int, deviation: float
) -> np.ndarray:
    nodes = (2, height // WARP_GRID + 2, width // WARP_GRID + 2)
    values = rng.normal(0, deviation, nodes).astype(np.float32)

    def axis(size):
        first, fraction = np.divmod(np.arange(size, dtype=np.float32) / WARP_GRID, 1)
        first = first.astype(np.intp)
        # Smoothstep: no kinks in the displacement at the nodes.
        return first, first + 1, fraction * fraction * (3 - 2 * fraction)

    return _interpolate(values, axis(height), axis(width))


def _class_shares(label: np.ndarray, num_classes: int, factor: int, ignore_label: int):
    height, width = label.shape
    rows, columns = -(-height // factor), -(-width // factor)
    cell = (np.arange(height) // factor)[:, None] * columns + (np.arange(width) // factor)[None]
    # One class more collects what is ignored.
    index = np.where(label == ignore_label, num_classes, label).astype(np.intp)
    counts = np.bincount(
        (index * (rows * columns) + cell).ravel(), minlength=(num_classes + 1) * rows * columns
    )
    return _normalize(counts.reshape(num_classes + 1, rows, columns)[:-1].astype(np.float32))


def _normalize(shares: np.ndarray) -> np.ndarray:
    total = shares.sum(axis=0)
    empty = total == 0
    shares[:, empty] = 1
    return shares / np.where(empty, len(shares), total)


def _upsample_cells(cells: np.ndarray, height: int, width: int, factor: int) -> np.ndarray:
    rows = _interpolation(cells.shape[1], (np.arange(height) + 0.5) / factor)
    columns = _interpolation(cells.shape[2], (np.arange(width) + 0.5) / factor)
    return _interpolate(cells, rows, columns)


def _interpolation(size: int, position: np.ndarray):
    """Neighbours and weight for positions that count from the outer edge of the first cell."""
    position = np.clip(position - 0.5, 0, size - 1)
    first = np.floor(position).astype(np.intp)
    return first, np.minimum(first + 1, size - 1), (position - first).astype(np.float32)


def _interpolate(maps: np.ndarray, rows, columns) -> np.ndarray:
    # Indexing and sums only: a prefetching thread must not wake the threads of a BLAS.
    top, below, down = rows
    left, beside, right = columns
    down = down[:, None]
    tall = maps[:, top] * (1 - down) + maps[:, below] * down
    out = tall[:, :, left] * (1 - right) + tall[:, :, beside] * right
    return np.ascontiguousarray(out, np.float32)
