"""Tiles of scikit-image's picture of coins, and which pixels are coins."""

import os

import numpy as np
import skimage.data
import skimage.filters
import skimage.io
import skimage.segmentation

SIDE = 96
IGNORE = 255


def labels_of(image):
    """1 on coins, 0 beside them, 255 along the edges, where nobody knows.

    Watersheds on the gradient, from what is surely a coin and what surely is none.
    """
    markers = np.where(image < 30, 1, np.where(image > 150, 2, 0))
    basins = skimage.segmentation.watershed(skimage.filters.sobel(image), markers)
    labels = (basins == 2).astype(np.uint8)
    labels[skimage.segmentation.find_boundaries(labels, mode="thick")] = IGNORE
    return labels


def write(folder):
    """Write each tile as NAME.png and NAME_label.png; train.txt and val.txt list the names."""
    image = skimage.data.coins()
    labels = labels_of(image)
    names = {"train": [], "val": []}
    for row in range(image.shape[0] // SIDE):
        for column in range(image.shape[1] // SIDE):
            name = f"tile_{row}_{column}"
            window = np.s_[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE]
            save = {"": image, "_label": labels}
            for suffix, values in save.items():
                path = os.path.join(folder, f"{name}{suffix}.png")
                skimage.io.imsave(path, values[window], check_contrast=False)
            names["val" if column == 3 else "train"].append(name)
    for split, found in names.items():
        with open(os.path.join(folder, f"{split}.txt"), "w") as file:
            file.write("\n".join(found) + "\n")


def read(folder, name):
    """One tile: grey values (1, H, W), about zero, and labels (1, H, W)."""
    image = skimage.io.imread(os.path.join(folder, f"{name}.png"))
    label = skimage.io.imread(os.path.join(folder, f"{name}_label.png"))
    return (image[np.newaxis] - 97.0) / 53, label[np.newaxis]


def read_names(folder, split):
    with open(os.path.join(folder, f"{split}.txt")) as file:
        return file.read().split()


def patches(folder, count, side, seed):
    """Patches of the training tiles (count, 1, side, side), as many on coins as beside them.

    Returns
    -------
    tuple of array
        The patches, and the labels (count) of the pixels in their middle; both float32.
    """
    rng = np.random.default_rng(seed)
    tiles = [read(folder, name) for name in read_names(folder, "train")]
    data = np.empty((count, 1, side, side), np.float32)
    wanted = np.arange(count) % 2
    for patch, label in zip(data, wanted, strict=True):
        while True:
            image, labels = tiles[rng.integers(len(tiles))]
            top, left = rng.integers(SIDE - side, size=2)
            if labels[0, top + side // 2, left + side // 2] == label:
                break
        patch[...] = image[:, top : top + side, left : left + side]
    return data, wanted.astype(np.float32)
