"""A small segmentation set, foreground against background, from pictures in scikit-image's wheel.

Nothing is downloaded. Each mask comes from what its picture makes easy:

motorcycle
    The Middlebury 2014 stereo pair with its measured disparity: what stands nearer than the
    wall and above the floor is foreground. Its rear part is for training, its front part, which
    shares no pixel with it, is held out.
coins
    Seeds (very bright and very dark pixels) grown to the borders by a watershed on the gradient.
    The left half of the picture is for training, the right half held out.
camera, retina, cell
    A brightness that only the object has: the photographer's black coat, all but the black surround
    of an eye's fundus, the bright cell; the largest connected part, without its holes.
coffee
    Two ellipses and a polygon drawn by hand around the cup with its saucer and spoon.

Source: Scharstein et al., High-Resolution Stereo Datasets with Subpixel-Accurate Ground Truth,
GCPR 2014 (motorcycle); scikit-image's data folder (coins; coffee by Rachel Michetti).
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

IGNORE = 255
CLASSES = ("background", "foreground")
PALETTE = ((0, 0, 0), (224, 64, 32))

# Column where the motorcycle is cut: the engine ends before, the fork begins behind.
_REAR_END, _FRONT_BEGIN = 430, 440
# Column where the picture of coins is cut; it goes through some of them.
_COINS_CUT = 185
# A disparity above this is nearer than the bench and everything behind it.
_NEAR = 38.0
# How far above the floor's plane, in disparity, something must be to stand on it.
_ABOVE_FLOOR = 1.2
# Pixels without a disparity are left out near the foreground; farther off they are background.
_UNKNOWN_REACH = 8

# (centre x, centre y, half axis a, half axis b, degrees) of the saucer and the cup, in pixels.
_COFFEE_ELLIPSES = ((279, 225, 202, 162, 5), (291, 117, 119, 101, 6))
_COFFEE_SPOON = ((397, 68), (412, 66), (423, 74), (424, 84), (414, 118), (400, 120))


def write_demo_set(folder: str | os.PathLike) -> Path:
    """Write the set in the layout of PASCAL VOC, with the splits train and val.

    Parameters
    ----------
    folder : path
        Created if needed; existing files of the set are overwritten.

    Returns
    -------
    Path
        The folder.
    """
    from PIL import Image

    root = Path(folder)
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / name).mkdir(parents=True, exist_ok=True)
    splits = {"train": _training_pictures(), "val": _held_out_pictures()}
    for split, pictures in splits.items():
        for name, (image, mask) in pictures.items():
            # PNG, since JPEG would blur what the masks were made from.
            Image.fromarray(image).save(root / "JPEGImages" / f"{name}.png")
            label = Image.fromarray(mask, mode="P")
            label.putpalette([value for colour in PALETTE for value in colour])
            label.save(root / "SegmentationClass" / f"{name}.png")
        listing = "".join(f"{name}\n" for name in pictures)
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text(listing)
    meta = {"classes": CLASSES, "palette": PALETTE, "ignore_label": IGNORE}
    (root / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")
    return root


def _training_pictures() -> dict:
    image, mask = motorcycle()
    coin_image, coin_mask = coins()
    return {
        "motorcycle_rear": (image[:, :_REAR_END].copy(), mask[:, :_REAR_END].copy()),
        "coins_left": (coin_image[:, :_COINS_CUT].copy(), coin_mask[:, :_COINS_CUT].copy()),
        "coffee": coffee(),
        "camera": camera(),
        "retina": retina(),
        "cell": cell(),
    }


def _held_out_pictures() -> dict:
    image, mask = motorcycle()
    coin_image, coin_mask = coins()
    return {
        "coins_right": (coin_image[:, _COINS_CUT:].copy(), coin_mask[:, _COINS_CUT:].copy()),
        "motorcycle_front": (image[:, _FRONT_BEGIN:].copy(), mask[:, _FRONT_BEGIN:].copy()),
    }


def motorcycle() -> tuple[np.ndarray, np.ndarray]:
    """The left picture (500, 741, 3) and its foreground by disparity, 255 where unknown."""
    from scipy import ndimage
    from skimage import data

    image, _, disparity = data.stereo_motorcycle()
    known = np.isfinite(disparity)
    disparity = np.where(known, disparity, 0)
    near = disparity > np.maximum(_NEAR, _floor_plane(disparity, known) + _ABOVE_FLOOR)
    parts, _ = ndimage.label(near)
    near = parts == np.argmax(np.bincount(parts.ravel())[1:]) + 1
    mask = near.astype(np.uint8)
    close = ndimage.distance_transform_edt(~near) <= _UNKNOWN_REACH
    mask[~known & close] = IGNORE
    return image, mask


def _floor_plane(disparity: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The floor's disparity at every pixel: a plane, fitted to the lower part again and again
    without what stands out of it."""
    rows, columns = np.mgrid[: disparity.shape[0], : disparity.shape[1]]
    coordinates = np.stack([rows, columns, np.ones_like(rows)], axis=-1).astype(float)
    part = known & (rows > 0.6 * disparity.shape[0])
    points, values = coordinates[part], disparity[part]
    chosen = np.ones(len(values), bool)
    tolerance = 16.0
    while True:
        plane = np.linalg.lstsq(points[chosen], values[chosen], rcond=None)[0]
        # What stands on the floor is nearer than it, so only the lower side counts as floor.
        chosen = np.abs(points @ plane - values) < tolerance
        if tolerance < 0.7:
            return coordinates @ plane
        tolerance *= 0.8


def coins() -> tuple[np.ndarray, np.ndarray]:
    """The picture (303, 384, 3) and the coins' mask."""
    from scipy import ndimage
    from skimage import data, filters, segmentation

    gray = data.coins()
    seeds = np.zeros(gray.shape, int)
    seeds[gray < 30] = 1
    seeds[gray > 150] = 2
    coin = segmentation.watershed(filters.sobel(gray), seeds) == 2
    coin = ndimage.binary_opening(ndimage.binary_fill_holes(coin), iterations=3)
    return np.repeat(gray[:, :, None], 3, axis=2), coin.astype(np.uint8)


def camera() -> tuple[np.ndarray, np.ndarray]:
    """The picture (512, 512, 3) and the mask of the photographer's coat."""
    from skimage import data

    gray = data.camera()
    return np.repeat(gray[:, :, None], 3, axis=2), largest_part(gray < 60)


def retina() -> tuple[np.ndarray, np.ndarray]:
    """The picture (470, 470, 3), a third of its size, and the mask of the round field of view."""
    from skimage import data

    image = data.retina()[::3, ::3].copy()
    return image, largest_part(image.max(axis=2) > 40)


def cell() -> tuple[np.ndarray, np.ndarray]:
    """The picture (660, 550, 3) and the mask of the bright cell."""
    from skimage import data, filters

    gray = data.cell()
    smooth = filters.gaussian(gray, 1, preserve_range=True)
    return np.repeat(gray[:, :, None], 3, axis=2), largest_part(smooth > 120)


def largest_part(mask: np.ndarray) -> np.ndarray:
    """The largest connected part of a mask, with holes and small gaps closed, as class 1."""
    from scipy import ndimage

    mask = ndimage.binary_opening(ndimage.binary_closing(mask, iterations=2), iterations=2)
    parts, _ = ndimage.label(mask)
    largest = parts == np.argmax(np.bincount(parts.ravel())[1:]) + 1
    return ndimage.binary_fill_holes(largest).astype(np.uint8)


def coffee() -> tuple[np.ndarray, np.ndarray]:
    """The picture (400, 600, 3) and the mask of cup, saucer and spoon."""
    from skimage import data, draw

    image = data.coffee()
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    corners = [(y, x) for x, y in _COFFEE_SPOON]
    mask = draw.polygon2mask(image.shape[:2], corners)
    for x, y, a, b, degrees in _COFFEE_ELLIPSES:
        cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        along = (columns - x) * cosine + (rows - y) * sine
        across = (rows - y) * cosine - (columns - x) * sine
        mask |= (along / a) ** 2 + (across / b) ** 2 <= 1
    return image, mask.astype(np.uint8)
