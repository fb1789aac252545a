"""Batches of windows of images, as the WindowData layer makes them.

Source: `WindowDataLayer` of BVLC Caffe.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from caffe_spn.data import window_crop
from caffe_spn.data.images import decode_image, read_image
from caffe_spn.data.window_file import IMAGE, LABEL, X1, WindowFile
from caffe_spn.errors import DataError


@dataclass
class WindowOptions:
    """How windows are drawn and cut out; the names are those of the layer's parameters."""

    batch_size: int
    crop_size: int
    fg_fraction: float = 0.25
    context_pad: int = 0
    square: bool = False
    mirror: bool = False
    scale: float = 1.0
    cache_images: bool = False
    root_folder: str = ""

    @property
    def foreground(self) -> int:
        """How many windows of a batch are foreground; truncated in float32, as in Caffe."""
        return int(np.float32(self.batch_size) * np.float32(self.fg_fraction))


class WindowSource:
    """Batches of windows drawn at random: first those of the background, then the objects'.

    Batch k depends on the files, the options, the seed and k alone.

    Parameters
    ----------
    windows : WindowFile
    options : WindowOptions
    mean : array, (C, crop_size, crop_size) or (C, 1, 1), optional
        To subtract.
    seed : int, default 0
    """

    def __init__(
        self,
        windows: WindowFile,
        options: WindowOptions,
        mean: np.ndarray | None = None,
        seed: int = 0,
    ):
        self.windows = windows
        self.options = options
        self.mean = mean
        self.seed = seed
        self._contents: dict[int, bytes] = {}

    def batch(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Batch number `index`: data (N, 3, crop_size, crop_size) and labels (N), float32.

        Raises
        ------
        DataError
            If an image is missing or broken, or a window does not lie in it; the error names it.
        """
        options = self.options
        rng = np.random.default_rng([self.seed, index])
        data = np.zeros((options.batch_size, 3, options.crop_size, options.crop_size), np.float32)
        labels = np.empty(options.batch_size, np.float32)
        background = options.batch_size - options.foreground
        for number in range(options.batch_size):
            windows = self.windows.background if number < background else self.windows.foreground
            window = windows[rng.integers(len(windows))]
            mirrored = options.mirror and rng.integers(2) == 1
            self._paste(window, mirrored, data[number])
            labels[number] = window[LABEL]
        return data, labels

    def _paste(self, window: np.ndarray, mirrored: bool, patch: np.ndarray) -> None:
        options = self.options
        image = self._image(int(window[IMAGE]))
        box = tuple(int(value) for value in window[X1:])
        size = image.shape[:2]
        if options.context_pad or options.square:
            crop = window_crop.with_context(
                box, size, options.crop_size, options.context_pad, options.square, mirrored
            )
        else:
            crop = window_crop.plain(box, options.crop_size)
        if not crop.fits(*size):
            raise DataError(
                f"the window (x1 y1 x2 y2) {' '.join(map(str, box))} cannot be cut out of an"
                f" image of {size[1]} x {size[0]} (w x h)",
                where=self._path(int(window[IMAGE])),
                help="windows must have an area and lie in their image",
            )
        place = np.s_[:, crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
        values = window_crop.cut(image, crop, mirrored).astype(np.float32)
        if self.mean is not None:
            values -= self.mean if self.mean.shape[1:] == (1, 1) else self.mean[place]
        patch[place] = values * np.float32(options.scale)

    def _image(self, number: int) -> np.ndarray:
        path = self._path(number)
        if not self.options.cache_images:
            return read_image(path)
        # As in Caffe, the file is what is kept, not the pixels, which would take ten times as much.
        if number not in self._contents:
            if not os.path.isfile(path):
                return read_image(path)  # which raises
            with open(path, "rb") as file:
                self._contents[number] = file.read()
        return decode_image(self._contents[number], where=path)

    def _path(self, number: int) -> str:
        return self.options.root_folder + self.windows.images[number]
