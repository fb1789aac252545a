"""Refine one image of `caffe-spn refine`: read, run the net, write, score."""

from __future__ import annotations

import sys

import numpy as np

from caffe_spn import refine, visual
from caffe_spn.data.coarse_files import read_coarse
from caffe_spn.data.images import read_image, read_label
from caffe_spn.errors import DataError, PrototxtError
from caffe_spn.memory import human
from caffe_spn.metrics import SegmentationScore
from caffe_spn.refine_plan import plan
from caffe_spn.tools.refine_files import Job


class Scores:
    """Adds up the scores of coarse and refined maps over images."""

    def __init__(self):
        self.count = 0
        self.parts: list[tuple[str, SegmentationScore]] = []

    def add(self, truth, coarse, refined, num_classes: int) -> None:
        if not self.parts:
            names = ("coarse", "refined")
            self.parts = [(name, SegmentationScore(num_classes)) for name in names]
        for (_, score), labels in zip(self.parts, (coarse, refined), strict=True):
            score.add(truth, labels)
        self.count += 1

    def line(self, title: str) -> str:
        """The scores as text, coarse -> refined."""
        before, after = (score.summary() for _, score in self.parts)
        values = ", ".join(
            f"{name} {before[key]:.4f} -> {after[key]:.4f}"
            for name, key in (
                ("accuracy", "accuracy"),
                ("mean IoU", "mean_iou"),
                ("accuracy within 3 pixels of a boundary", "boundary_accuracy"),
            )
        )
        return f"{title}: {values}"


def run(net, job: Job, options, scores: Scores) -> None:
    """Refine one image and write the results.

    Parameters
    ----------
    net : Net
    job : Job
    options : namespace
        Of the command.
    scores : Scores
        Gets this image's, when its truth is known.
    """
    image = read_image(job.image)
    if "coarse" not in net.blobs or len(net.blobs["coarse"].shape) != 4:
        raise PrototxtError(
            "the net has no input 'coarse' (1, K, H, W)",
            where=options.model,
            help="refine needs a deploy prototxt with the inputs 'image' and 'coarse'",
        )
    num_classes = net.blobs["coarse"].shape[1]
    coarse, palette = _read_coarse(job.coarse, num_classes)
    height, width = image.shape[:2]
    truth = _read_truth(job, (height, width))
    settings = dict(tile=options.tile, overlap=options.overlap, memory=options.memory)
    steps = plan(net, height, width, **settings)
    tiles = f"{steps.count} tiles of" if steps.count > 1 else "in one piece,"
    print(
        f"{job.image}: {width} x {height}, {tiles} {steps.tile[1]} x {steps.tile[0]},"
        f" about {human(steps.bytes)}",
        file=sys.stderr,
    )
    prob = refine.refine(
        net,
        image,
        coarse,
        mean=options.mean,
        scale=options.scale,
        restrict_to_coarse=options.restrict_to_coarse,
        progress=_progress() if steps.count > 1 else None,
        **settings,
    )
    labels = prob.argmax(axis=0).astype(np.uint8)
    before = refine.coarse_labels(coarse, height, width)
    visual.write_label_png(job.written(".png"), labels, palette)
    if options.prob != "none":
        # Probabilities compress well where the net is sure, which is nearly everywhere.
        np.savez_compressed(job.written(".npz"), prob=prob.astype(options.prob))
    colors = image[:, :, ::-1]
    panels = [("image", colors), ("coarse", visual.overlay(colors, before, palette))]
    panels.append(("refined", visual.overlay(colors, labels, palette)))
    if truth is not None:
        panels.append(("truth", visual.overlay(colors, truth, palette)))
        one = Scores()
        for score in (one, scores):
            score.add(truth, before, labels, num_classes)
        print(one.line(job.image))
    visual.write_picture(job.written("_compare.png"), visual.side_by_side(panels))


def _read_coarse(path: str, num_classes: int):
    """The probabilities, and the palette of a label map."""
    if not path.lower().endswith(".png"):
        return read_coarse(path, num_classes), None
    from PIL import Image

    labels = read_label(path)
    with Image.open(path) as file:
        colors = file.getpalette() if file.mode == "P" else None
    try:
        return refine.one_hot(labels, num_classes), colors
    except DataError as error:
        raise DataError(error.message, where=path, help=error.help) from error


def _read_truth(job: Job, shape: tuple[int, int]):
    if job.truth is None:
        return None
    truth = read_label(job.truth)
    if truth.shape != shape:
        raise DataError(
            f"is {truth.shape[1]} x {truth.shape[0]} (w x h); its image {job.image} is"
            f" {shape[1]} x {shape[0]}",
            where=job.truth,
        )
    return truth


def _progress():
    """A progress bar, on a terminal."""
    if not sys.stderr.isatty():
        return None
    from tqdm import tqdm

    bar = tqdm(unit="tile", leave=False)

    def show(done: int, total: int) -> None:
        bar.total = total
        bar.update(1)
        if done == total:
            bar.close()

    return show
