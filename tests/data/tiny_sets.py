"""Small segmentation sets and images that tests write into their own folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from caffe_spn.data.voc import voc_palette


def save_label(path: Path, label: np.ndarray) -> None:
    image = Image.fromarray(label.astype(np.uint8)).convert("P")
    image.putdata(label.astype(np.uint8).ravel().tolist())
    image.putpalette(voc_palette().ravel().tolist())
    image.save(path)


def blocks(height: int, width: int, num_classes: int, rng: np.random.Generator) -> np.ndarray:
    """A label map of one background and one rectangle for each other class."""
    label = np.zeros((height, width), np.uint8)
    for value in range(1, num_classes):
        top, left = rng.integers(height // 2), rng.integers(width // 2)
        label[top : top + height // 3 + 1, left : left + width // 3 + 1] = value
    return label


def make_set(
    root: Path,
    sizes=((40, 52), (36, 30), (50, 44)),
    num_classes: int = 3,
    split: str = "train",
    meta: bool = True,
    labels=None,
) -> Path:
    """Write a set with images im0, im1, ... of the given sizes; returns its root."""
    rng = np.random.default_rng(0)
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    names = []
    for n, (height, width) in enumerate(sizes):
        name = f"im{n}"
        label = blocks(height, width, num_classes, rng) if labels is None else labels[n]
        noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(noise).save(root / "JPEGImages" / f"{name}.png")
        save_label(root / "SegmentationClass" / f"{name}.png", label)
        names.append(name)
    (root / "ImageSets/Segmentation" / f"{split}.txt").write_text("\n".join(names) + "\n")
    if meta:
        classes = [f"class {k}" for k in range(num_classes)]
        content = {"classes": classes, "palette": [[9, 8, 7]], "ignore_label": 255}
        (root / "meta.json").write_text(json.dumps(content))
    return root
