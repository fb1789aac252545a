"""Batches of the images in a list of files with labels, as the ImageData layer reads them.

Source: `ImageDataLayer` of BVLC Caffe.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from caffe_spn.data.images import read_image, resize
from caffe_spn.data.transformer import DataTransformer, chw
from caffe_spn.errors import DataError


@dataclass(frozen=True)
class Entry:
    """One line of the list."""

    path: str
    label: int
    line: int


def read_list(list_path: str | os.PathLike) -> list[Entry]:
    """Read lines of ``path label``; a path may contain blanks.

    Raises
    ------
    DataError
        If the list is missing or empty, or a line has no label; it names the line.
    """
    list_path = os.fspath(list_path)
    if not os.path.isfile(list_path):
        raise DataError(
            "no such list of images",
            where=list_path,
            help="source names a text file with 'path label' on each line",
        )
    entries = []
    with open(list_path, encoding="utf-8", errors="surrogateescape") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            path, _, label = line.strip().rpartition(" ")
            try:
                entries.append(Entry(path.strip(), int(label), number))
            except ValueError:
                path = ""
            if not path:
                raise DataError(
                    f"'{line.strip()}' is not 'path label' with a whole number as label",
                    where=f"{list_path}:{number}",
                )
    if not entries:
        raise DataError("the list of images is empty", where=list_path)
    return entries


class ImageListSource:
    """Batches of transformed images and their labels.

    Batch k depends on the files, the options, the seed and k alone.

    Parameters
    ----------
    list_path : path
    transformer : DataTransformer
    batch_size : int
    root_folder : str, default ""
        Put before every path as it is, so it should end with a slash.
    new_size : (int, int), optional
        Height and width to resize images to.
    color : bool, default True
    shuffle : bool, default False
        A new order in every pass.
    skip : int, default 0
        Leave out this many images at the start.
    seed : int, default 0
    """

    def __init__(
        self,
        list_path: str | os.PathLike,
        transformer: DataTransformer,
        batch_size: int,
        root_folder: str = "",
        new_size: tuple[int, int] | None = None,
        color: bool = True,
        shuffle: bool = False,
        skip: int = 0,
        seed: int = 0,
    ):
        self.list_path = os.fspath(list_path)
        self.entries = read_list(list_path)
        self.transformer = transformer
        self.batch_size = batch_size
        self.root_folder = root_folder
        self.new_size = new_size
        self.color = color
        self.shuffle = shuffle
        self.skip = skip
        self.seed = seed
        self._order: tuple[int, np.ndarray] | None = None

    def batch(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Batch number `index`: data (N, C, H, W) and labels (N), float32.

        Raises
        ------
        DataError
            If an image is missing, broken or of another size than the first of the batch; the
            error names the image and its line in the list.
        """
        rng = np.random.default_rng([self.seed, index])
        labels = np.empty(self.batch_size, np.float32)
        data = None
        for n in range(self.batch_size):
            entry = self.entry(index * self.batch_size + n + self.skip)
            values = self.transformer.transform(self.read(entry), rng, self._place(entry))
            if data is None:
                data = np.empty((self.batch_size, *values.shape), np.float32)
            if values.shape != data.shape[1:]:
                raise DataError(
                    f"is {values.shape} (channels, height, width); the first image of its batch"
                    f" is {data.shape[1:]}",
                    where=self._place(entry),
                    help="set new_height and new_width, a crop_size, or batch_size: 1",
                )
            data[n], labels[n] = values, entry.label
        return data, labels

    def entry(self, number: int) -> Entry:
        """Entry `number` of the endless sequence of passes over the list."""
        epoch, position = divmod(number, len(self.entries))
        if not self.shuffle:
            return self.entries[position]
        if self._order is None or self._order[0] != epoch:
            order = np.random.default_rng([self.seed, epoch, 1]).permutation(len(self.entries))
            self._order = (epoch, order)
        return self.entries[self._order[1][position]]

    def read(self, entry: Entry) -> np.ndarray:
        """The image of an entry, resized, (C, H, W) uint8."""
        try:
            image = read_image(self.root_folder + entry.path, self.color)
        except DataError as error:
            where = f"{self.list_path}:{entry.line}: {error.where}"
            raise DataError(error.message, where, error.help) from error
        return chw(resize(image, *self.new_size) if self.new_size else image)

    def _place(self, entry: Entry) -> str:
        return f"{self.list_path}:{entry.line}: {self.root_folder + entry.path}"
