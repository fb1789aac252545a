"""A segmentation set of two images, for networks that read data."""

import numpy as np
from skimage.io import imsave


def write_tiny_set(root):
    """Write a set in the VOC layout: images of 160x140 with stripes of two classes, of five."""
    rng = np.random.default_rng(0)
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    label = np.repeat(np.arange(140, dtype=np.uint8)[None] // 28 % 2, 160, axis=0)
    label[:3] = 255
    for name in ("a", "b"):
        image = rng.integers(0, 256, (160, 140, 3), dtype=np.uint8)
        imsave(root / "JPEGImages" / f"{name}.png", image, check_contrast=False)
        imsave(root / "SegmentationClass" / f"{name}.png", label, check_contrast=False)
    for split in ("train", "val"):
        (root / "ImageSets/Segmentation" / f"{split}.txt").write_text("a\nb\n")
    (root / "meta.json").write_text('{"classes": ["a", "b", "c", "d", "e"]}')
    return root
