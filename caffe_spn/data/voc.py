"""Segmentation sets in the layout of PASCAL VOC.

::

    ROOT/JPEGImages/NAME.jpg
    ROOT/SegmentationClass/NAME.png          8-bit palette; the value is the class, 255 is "ignore"
    ROOT/ImageSets/Segmentation/SPLIT.txt    one NAME a line
    ROOT/meta.json                           optional: classes, palette, ignore_label

Source: Everingham et al., The PASCAL Visual Object Classes Challenge, IJCV 2010.
"""

from __future__ import annotations

import json
import os

import numpy as np

from caffe_spn.data.images import read_image, read_label
from caffe_spn.errors import DataError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG", ".bmp", ".tif", ".tiff")


class VocSet:
    """One split of a segmentation set.

    Parameters
    ----------
    root : path
        The folder that holds `images_folder`, `labels_folder` and ImageSets.
    split : str, default "train"
        The list ImageSets/Segmentation/SPLIT.txt.
    images_folder, labels_folder : str
        By default JPEGImages and SegmentationClass.
    long_side : int, default 0
        Resize images (smoothly) and labels (nearest) so that the longer side has this many
        pixels; 0 keeps the size.

    Attributes
    ----------
    names : list of str
        The images' names, in the order of the list.
    class_names : list of str
        From meta.json; empty when there is none.
    num_classes : int or None
        The number of class names.
    ignore_label : int
        From meta.json, or 255.

    Raises
    ------
    DataError
        If a folder, the list, or a file of the list is missing, or the list is empty.

    Examples
    --------
    >>> voc = VocSet("VOC2012", "val")                           # doctest: +SKIP
    >>> voc.names[0], voc.image(0).shape, voc.label(0).shape     # doctest: +SKIP
    ('2007_000033', (366, 500, 3), (366, 500))
    """

    def __init__(
        self,
        root: str | os.PathLike,
        split: str = "train",
        images_folder: str = "JPEGImages",
        labels_folder: str = "SegmentationClass",
        long_side: int = 0,
    ):
        self.root = os.fspath(root)
        self.split = split
        self.long_side = int(long_side)
        self.list_path = self._find_list(split)
        self.names = _read_names(self.list_path)
        self.images_folder = self._folder(images_folder or "JPEGImages", "images")
        self.labels_folder = self._folder(labels_folder or "SegmentationClass", "labels")
        self._images = self._find_files(self.images_folder, IMAGE_SUFFIXES, "image")
        self._labels = self._find_files(self.labels_folder, (".png",), "label map")
        meta = _read_meta(os.path.join(self.root, "meta.json"))
        self.class_names: list[str] = list(meta.get("classes", []))
        self.num_classes = len(self.class_names) or None
        self.ignore_label = int(meta.get("ignore_label", 255))
        self._palette = meta.get("palette")

    def __len__(self) -> int:
        return len(self.names)

    def image_path(self, index: int) -> str:
        return self._images[index]

    def label_path(self, index: int) -> str:
        return self._labels[index]

    def image(self, index: int) -> np.ndarray:
        """Image `index`, (H, W, 3) uint8; blue, green, red, as Caffe's layers read images."""
        image = read_image(self._images[index])
        height, width = self._size(image.shape[:2])
        if (height, width) == image.shape[:2]:
            return image
        from PIL import Image

        # Unlike OpenCV's, this bilinear filter widens when it shrinks: no aliasing.
        resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        return np.array(resized)

    def label(self, index: int) -> np.ndarray:
        """Class indices of image `index`, (H, W) uint8."""
        label = read_label(self._labels[index])
        height, width = self._size(label.shape)
        rows = (2 * np.arange(height) + 1) * label.shape[0] // (2 * height)
        columns = (2 * np.arange(width) + 1) * label.shape[1] // (2 * width)
        return np.ascontiguousarray(label[rows[:, None], columns])

    def pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Image and label `index`; raises DataError when their sizes differ."""
        image, label = self.image(index), self.label(index)
        if image.shape[:2] != label.shape:
            raise DataError(
                f"is {label.shape[1]} x {label.shape[0]} (w x h), but its image"
                f" {self._images[index]} is {image.shape[1]} x {image.shape[0]}",
                where=self._labels[index],
            )
        return image, label

    @property
    def palette(self) -> np.ndarray:
        """The colours to show classes with, (256, 3) uint8 RGB: meta.json's, then VOC's."""
        colours = voc_palette()
        if self._palette is not None:
            own = np.asarray(self._palette, np.uint8).reshape(-1, 3)[:256]
            colours[: len(own)] = own
        return colours

    def _size(self, shape: tuple[int, int]) -> tuple[int, int]:
        longest = max(shape)
        if not self.long_side or longest == self.long_side:
            return tuple(shape)
        return tuple(max(1, round(side * self.long_side / longest)) for side in shape)

    def _find_list(self, split: str) -> str:
        folder = os.path.join(self.root, "ImageSets", "Segmentation")
        path = os.path.join(folder, split + ".txt")
        if not os.path.isdir(self.root):
            raise DataError("no such folder", where=self.root, help=_LAYOUT)
        if not os.path.isdir(folder):
            raise DataError("no such folder", where=folder, help=_LAYOUT)
        if not os.path.isfile(path):
            known = sorted(f[:-4] for f in os.listdir(folder) if f.endswith(".txt"))
            raise DataError(
                f"the set has no split '{split}'",
                where=path,
                help=f"it has {', '.join(known)}"
                if known
                else "put one NAME a line into that file",
            )
        return path

    def _folder(self, folder: str, what: str) -> str:
        path = os.path.join(self.root, folder)
        if not os.path.isdir(path):
            raise DataError(f"no such folder, so no {what}", where=path, help=_LAYOUT)
        return path

    def _find_files(self, folder: str, suffixes: tuple[str, ...], what: str) -> list[str]:
        present = set(os.listdir(folder))
        paths = []
        for line, name in enumerate(self.names, 1):
            suffix = next((s for s in suffixes if name + s in present), None)
            if suffix is None:
                # A name may point into a sub-folder, which the listing does not show.
                suffix = next(
                    (s for s in suffixes if os.path.isfile(os.path.join(folder, name + s))), None
                )
            if suffix is None:
                raise DataError(
                    f"entry {line}, '{name}', has no {what} in {folder}",
                    where=self.list_path,
                    help=f"looked for {name} with {', '.join(suffixes)}",
                )
            paths.append(os.path.join(folder, name + suffix))
        return paths


_LAYOUT = "a set has the folders JPEGImages, SegmentationClass and ImageSets/Segmentation"


def voc_palette() -> np.ndarray:
    """PASCAL VOC's colour map, (256, 3) uint8 RGB: a class's bits, spread over the channels."""
    index = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((index >> (3 * bit + channel) & 1) << (7 - bit)).astype(
                np.uint8
            )
    return colours


def _read_names(path: str) -> list[str]:
    with open(path, encoding="utf-8", errors="replace") as lines:
        # VOC's per-class lists carry a flag after the name.
        names = [line.split()[0] for line in lines if line.split()]
    if not names:
        raise DataError("the list is empty", where=path, help="put one NAME a line into it")
    return names


def _read_meta(path: str) -> dict:
    if not os.path.isfile(path):
        return {}
    try:
        with open(path, encoding="utf-8") as stream:
            meta = json.load(stream)
    except ValueError as error:
        raise DataError(f"is not valid JSON: {error}", where=path) from error
    if not isinstance(meta, dict):
        raise DataError("is not a JSON object with classes, palette, ignore_label", where=path)
    return meta
