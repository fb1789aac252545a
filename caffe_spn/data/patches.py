"""Patches of a segmentation set for training refinement: image, coarse map and label.

Source: Liu et al., Learning Affinity via Spatial Propagation Networks, NIPS 2017, section 5
(patches with more than one label; random shift, scale 0.9 to 1.1, rotation up to 15 degrees).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from caffe_spn.data.coarse import check_classes, make_coarse
from caffe_spn.data.coarse_files import CoarseFolder
from caffe_spn.data.voc import VocSet
from caffe_spn.errors import DataError

# Bytes of decoded images, labels and coarse maps that a source keeps.
CACHE_BYTES = 512 * 2**20
# How often a place is drawn anew when turning and scaling left only one label in the patch.
_TRIES = 8


@dataclass(frozen=True)
class PatchOptions:
    """What patches look like; the fields of `segmentation_patch_param` by the same names."""

    num_classes: int
    batch_size: int = 8
    patch_size: int = 128
    patches_per_image: int = 4
    ignore_label: int = 255
    scale_min: float = 0.9
    scale_max: float = 1.1
    rotation: float = 15.0
    shift: int = 2
    mirror: bool = True
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    image_scale: float = 1.0
    coarse_factor: int = 8
    coarse_warp: float = 3.0
    coarse_noise: float = 0.1


class PatchSource:
    """Batches of patches; batch k depends on the set, the options, the seed and k alone.

    Parameters
    ----------
    voc : VocSet
    options : PatchOptions
    seed : int
    coarse : CoarseFolder, optional
        Where coarse maps lie; without it they are made from the labels (`make_coarse`).
    """

    def __init__(
        self, voc: VocSet, options: PatchOptions, seed: int, coarse: CoarseFolder | None = None
    ):
        self.voc = voc
        self.options = options
        self.seed = seed
        self.coarse = coarse
        self._cache: OrderedDict[int, _Sample] = OrderedDict()
        self._cached_bytes = 0
        self._order: tuple[int, np.ndarray] | None = None

    def batch(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Batch number `index`.

        Returns
        -------
        image : array of float32, (N, 3, P, P)
            Blue, green, red; the mean subtracted, then scaled; 0 outside the image.
        coarse : array of float32, (N, K, P, P)
            Probabilities.
        label : array of float32, (N, 1, P, P)
            Class indices; the ignore label outside the image.
        """
        o = self.options
        images = np.empty((o.batch_size, 3, o.patch_size, o.patch_size), np.float32)
        coarse = np.empty((o.batch_size, o.num_classes, *images.shape[2:]), np.float32)
        labels = np.empty((o.batch_size, 1, *images.shape[2:]), np.float32)
        images_per_batch = -(-o.batch_size // o.patches_per_image)
        for n in range(o.batch_size):
            sample = self._sample(index * images_per_batch + n // o.patches_per_image)
            rng = np.random.default_rng([self.seed, index, n])
            images[n], coarse[n], labels[n, 0] = self._patch(sample, rng)
        return images, coarse, labels

    def _sample(self, slot: int) -> _Sample:
        """The image for place `slot` in an endless sequence of shuffled epochs."""
        count = len(self.voc)
        epoch, position = divmod(slot, count)
        if self._order is None or self._order[0] != epoch:
            shuffled = np.random.default_rng([self.seed, epoch]).permutation(count)
            self._order = (epoch, shuffled)
        # An image without a place for a patch is replaced by the next one of its epoch.
        for index in np.roll(self._order[1], -position):
            sample = self._load(int(index))
            if sample.places.size:
                return sample
        raise DataError(
            f"no image has a {self.options.patch_size} x {self.options.patch_size} patch with more"
            f" than one label (of {count} images, label {self.options.ignore_label} not counted)",
            where=self.voc.list_path,
            help="patches for refinement need a border between two classes",
        )

    def _load(self, index: int) -> _Sample:
        if index in self._cache:
            self._cache.move_to_end(index)
            return self._cache[index]
        o = self.options
        image, label = self.voc.pair(index)
        check_classes(label, o.num_classes, o.ignore_label, self.voc.label_path(index))
        coarse = None
        if self.coarse is not None:
            coarse = np.moveaxis(self.coarse.read(self.voc.names[index]), 0, 2)
            coarse = np.ascontiguousarray(coarse)
        sample = _Sample(image, label, coarse, _places(label, o.patch_size, o.ignore_label))
        self._cache[index] = sample
        self._cached_bytes += sample.nbytes
        while self._cached_bytes > CACHE_BYTES and len(self._cache) > 1:
            self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes
        return sample

    def _patch(self, sample: _Sample, rng: np.random.Generator):
        o = self.options
        size, margin = o.patch_size, 2 * o.coarse_factor
        for attempt in range(_TRIES + 1):
            corner = sample.corner(int(rng.integers(sample.places.size)), size)
            turn, scale = (
                rng.uniform(-o.rotation, o.rotation),
                rng.uniform(o.scale_min, o.scale_max),
            )
            mirrored = bool(o.mirror and rng.integers(2))
            if attempt == _TRIES:
                turn, scale = 0.0, 1.0
            place = _Placement(corner, size, np.deg2rad(turn), scale, mirrored)
            wide = _nearest(sample.label, *place.grid(margin), o.ignore_label)
            label = wide[margin:-margin, margin:-margin]
            if _has_two_labels(label, o.ignore_label):
                break
        rows, columns = place.grid(0)
        image, inside = _bilinear(sample.image, rows, columns)
        image = (image - np.asarray(o.mean, np.float32)) * np.float32(o.image_scale)
        image[~inside] = 0
        if sample.coarse is None:
            coarse = self._make_coarse(wide, rng)
        else:
            coarse = self._read_coarse(sample, rows, columns, rng)
        return np.moveaxis(image, 2, 0), coarse, label

    def _make_coarse(self, wide: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        o = self.options
        # The cells' corner falls anywhere, as it does on a whole image seen through a patch.
        start = rng.integers(o.coarse_factor, size=2)
        coarse = make_coarse(
            wide[start[0] :, start[1] :],
            o.num_classes,
            rng,
            o.coarse_factor,
            o.coarse_warp,
            o.coarse_noise,
            o.shift,
            o.ignore_label,
        )
        top, left = 2 * o.coarse_factor - start
        return coarse[:, top : top + o.patch_size, left : left + o.patch_size]

    def _read_coarse(self, sample: _Sample, rows, columns, rng: np.random.Generator) -> np.ndarray:
        o = self.options
        height, width = sample.label.shape
        offset = rng.integers(-o.shift, o.shift + 1, 2)
        down, right = sample.coarse.shape[0] / height, sample.coarse.shape[1] / width
        coarse, _ = _bilinear(
            sample.coarse,
            (rows + offset[0] + 0.5) * down - 0.5,
            (columns + offset[1] + 0.5) * right - 0.5,
        )
        outside = (rows < -0.5) | (rows > height - 0.5) | (columns < -0.5) | (columns > width - 0.5)
        coarse[outside] = 1 / o.num_classes
        return np.moveaxis(coarse, 2, 0)


@dataclass(frozen=True)
class _Sample:
    image: np.ndarray  # (H, W, 3) uint8
    label: np.ndarray  # (H, W) uint8
    coarse: np.ndarray | None  # (h, w, K) float32
    places: np.ndarray  # flat numbers of corners whose patch has more than one label

    @property
    def nbytes(self) -> int:
        arrays = (self.image, self.label, self.coarse, self.places)
        return sum(a.nbytes for a in arrays if a is not None)

    def corner(self, number: int, size: int) -> tuple[int, int]:
        """Row and column of a patch's upper left pixel; negative where the patch is larger."""
        height, width = self.label.shape
        top, left = divmod(int(self.places[number]), max(width - size, size - width) + 1)
        return top + min(0, height - size), left + min(0, width - size)


@dataclass(frozen=True)
class _Placement:
    """A patch's place in its image: corner before turning and scaling about its centre."""

    corner: tuple[int, int]
    size: int
    turn: float
    scale: float
    mirrored: bool

    def grid(self, margin: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns in the image of the patch's pixels, and of `margin` more all around."""
        half = (self.size - 1) / 2
        steps = (np.arange(-margin, self.size + margin) - half) / self.scale
        down, right = steps[:, None], (-steps if self.mirrored else steps)[None, :]
        sine, cosine = np.sin(self.turn), np.cos(self.turn)
        rows = cosine * down + sine * right + (self.corner[0] + half)
        columns = cosine * right - sine * down + (self.corner[1] + half)
        return rows, columns


def _places(label: np.ndarray, size: int, ignore_label: int) -> np.ndarray:
    """Corners, numbered row by row, of the patches that hold more than one label."""
    pad = [max(0, size - side) for side in label.shape]
    # Padding on both sides lets a patch larger than the image lie anywhere around it.
    label = np.pad(label, [(p, p) for p in pad], constant_values=ignore_label)
    present = np.zeros([side - size + 1 for side in label.shape], np.uint8)
    for value in np.flatnonzero(np.bincount(label.ravel())):
        if value != ignore_label:
            present += _window_sums(label == value, size) > 0
    return np.flatnonzero(present > 1).astype(np.int32)


def _window_sums(mask: np.ndarray, size: int) -> np.ndarray:
    table = np.zeros([side + 1 for side in mask.shape], np.int32)
    np.cumsum(mask, axis=0, dtype=np.int32, out=table[1:, 1:])
    np.cumsum(table[1:, 1:], axis=1, out=table[1:, 1:])
    tall = table[size:] - table[:-size]
    return tall[:, size:] - tall[:, :-size]


def _has_two_labels(label: np.ndarray, ignore_label: int) -> bool:
    values = np.flatnonzero(np.bincount(label.ravel()))
    return np.count_nonzero(values != ignore_label) > 1


def _nearest(label: np.ndarray, rows, columns, outside: int) -> np.ndarray:
    rows, columns = np.rint(rows).astype(np.intp), np.rint(columns).astype(np.intp)
    height, width = label.shape
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    values = label[np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)]
    values[~inside] = outside
    return values


def _bilinear(values: np.ndarray, rows, columns) -> tuple[np.ndarray, np.ndarray]:
    """Samples of (H, W, C) at real positions, (rows, columns, C), and which lie inside."""
    height, width = values.shape[:2]
    inside = (rows >= -0.5) & (rows <= height - 0.5) & (columns >= -0.5) & (columns <= width - 0.5)
    rows, columns = np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)
    top, left = np.floor(rows).astype(np.intp), np.floor(columns).astype(np.intp)
    below, beside = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    down = (rows - top).astype(np.float32)[..., None]
    right = (columns - left).astype(np.float32)[..., None]
    flat = values.reshape(-1, values.shape[2])
    upper = flat[top * width + left] * (1 - right) + flat[top * width + beside] * right
    lower = flat[below * width + left] * (1 - right) + flat[below * width + beside] * right
    return upper * (1 - down) + lower * down, inside
