"""Window files: images and the boxes in them, as the WindowData layer reads them.

::

    # 0
    path/of/the/image.jpg
    3                                   channels
    480                                 height
    640                                 width
    2                                   number of windows
    7 0.9 100 40 180 200                class, overlap with an object, x1 y1 x2 y2
    0 0.1 0 0 50 50
    # 1
    ...

Source: `WindowDataLayer` of BVLC Caffe.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from caffe_spn.errors import DataError

# The columns of a window in the arrays below.
IMAGE, LABEL, X1, Y1, X2, Y2 = range(6)


@dataclass(frozen=True)
class WindowFile:
    """What a window file says.

    Attributes
    ----------
    images : list of str
        Their paths.
    foreground, background : arrays of int, (n, 6)
        Image, label, x1, y1, x2, y2 of each window. The label of a background window is 0.
    """

    images: list[str]
    foreground: np.ndarray
    background: np.ndarray


def read_windows(
    path: str | os.PathLike, fg_threshold: float = 0.5, bg_threshold: float = 0.5
) -> WindowFile:
    """Read a window file.

    Parameters
    ----------
    path : path
    fg_threshold : float
        Windows with at least this overlap are foreground.
    bg_threshold : float
        Of the others, those with less are background; what is left belongs to neither.

    Raises
    ------
    DataError
        If the file is missing, empty or malformed; it names the line up to which it was read.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise DataError(
            "no such window file",
            where=path,
            help="source names a text file of images and windows",
        )
    images: list[str] = []
    foreground, background = [np.empty((0, 6), np.int64)], [np.empty((0, 6), np.int64)]
    with open(path, encoding="utf-8", errors="surrogateescape") as lines:
        words = _Words(lines, path)
        while words.more():
            image, windows, overlaps = _read_image(words, len(images))
            images.append(image)
            # Caffe holds overlaps and thresholds in float32, which decides about equality.
            is_foreground = overlaps >= np.float32(fg_threshold)
            is_background = ~is_foreground & (overlaps < np.float32(bg_threshold))
            if (windows[is_foreground, LABEL] <= 0).any():
                raise words.error(
                    f"a window of {image} overlaps an object and has the class 0 or less",
                    "classes of objects begin at 1",
                )
            windows[is_background, LABEL] = 0
            foreground.append(windows[is_foreground])
            background.append(windows[is_background])
    if not images:
        raise DataError("the window file is empty", where=path)
    return WindowFile(images, np.concatenate(foreground), np.concatenate(background))


def _read_image(words: _Words, number: int) -> tuple[str, np.ndarray, np.ndarray]:
    """One image's path, its windows (n, 6), and their overlaps (n)."""
    mark, index = words.take(2)
    if mark != "#" or index != str(number):
        raise words.error(
            f"found '{mark} {index}', expected '# {number}'",
            "images are numbered from 0; does an image have more or fewer windows than stated?",
        )
    [image] = words.take(1)
    channels, _, _, count = words.integers(4)
    if channels != 3:
        raise words.error(
            f"{image} has {channels} channels; windows are cut out of colour images, with 3"
        )
    if count < 0:
        raise words.error(f"{image} has {count} windows")
    values = words.numbers(6 * count).reshape(-1, 6)
    whole = np.delete(values, 1, axis=1)
    if (whole != np.rint(whole)).any():
        raise words.error(f"a class or a coordinate of a window of {image} is no whole number")
    windows = np.empty((count, 6), np.int64)
    windows[:, IMAGE], windows[:, LABEL:] = number, whole
    return image, windows, values[:, 1].astype(np.float32)


class _Words:
    """The words of a text file, and where they stand."""

    def __init__(self, lines: Iterator[str], path: str):
        self._lines = enumerate(lines, 1)
        self._path = path
        self._line = 0
        self._words: list[str] = []

    def more(self) -> bool:
        """Whether there is another word."""
        self._fill(1)
        return bool(self._words)

    def take(self, count: int) -> list[str]:
        """The next words."""
        self._fill(count)
        if len(self._words) < count:
            raise self.error("the file ends in the middle of an image", "is it complete?")
        taken, self._words = self._words[:count], self._words[count:]
        return taken

    def numbers(self, count: int) -> np.ndarray:
        """The next words as numbers."""
        words = self.take(count)
        try:
            return np.array(words, np.float64)
        except ValueError as error:
            raise self.error(f"what should be a number is not: {error}") from error

    def integers(self, count: int) -> list[int]:
        """The next words as whole numbers."""
        values = self.numbers(count)
        if (values != np.rint(values)).any():
            raise self.error("channels, height, width and number of windows are whole numbers")
        return [int(value) for value in values]

    def error(self, message: str, help: str | None = None) -> DataError:
        return DataError(message, where=f"{self._path}:{self._line}", help=help)

    def _fill(self, count: int) -> None:
        while len(self._words) < count:
            self._line, line = next(self._lines, (self._line, None))
            if line is None:
                return
            self._words += line.split()
