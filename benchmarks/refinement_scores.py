"""Score a refinement network on whole images of a validation split."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import caffe_spn
from caffe_spn import metrics
from caffe_spn.data.coarse import make_coarse
from caffe_spn.data.voc import VocSet
from caffe_spn.refine import refine

# Of the coarse maps: every model is given the same ones.
COARSE_SEED = 2018
SPLIT = "val"
# Pixels from a true boundary, to tell how far from it the errors are.
WIDTHS = (3, 6, 12)


@dataclass
class Model:
    """A trained network and the images to score it on.

    Attributes
    ----------
    deploy, weights : Path
    source : str
    long_side : int
    """

    deploy: Path
    weights: Path
    source: str
    long_side: int = 0
    val: VocSet = field(init=False)
    net: caffe_spn.Net = field(init=False)

    def __post_init__(self):
        self.val = VocSet(self.source, SPLIT, long_side=self.long_side)
        self.net = caffe_spn.Net(str(self.deploy), caffe_spn.TEST, weights=str(self.weights))

    def coarse(self, index: int) -> np.ndarray:
        """The coarse map of image `index`, (K, H, W); the same in every run."""
        rng = np.random.default_rng([COARSE_SEED, index])
        return make_coarse(
            self.val.label(index), self.val.num_classes, rng, ignore_label=self.val.ignore_label
        )

    def refined(self, index: int) -> np.ndarray:
        """The refined map of image `index`, (K, H, W)."""
        return refine(self.net, self.val.image(index), self.coarse(index))

    def trained_parameters(self) -> int:
        """How many numbers the training changed."""
        pairs = zip(self.net.learnable_params, self.net.params_lr, strict=True)
        return sum(blob.count for blob, lr in pairs if lr)


def score(model: Model) -> dict:
    """Scores of the coarse and of the refined maps.

    Returns
    -------
    dict
        ``coarse`` and ``refined``: `SegmentationScore.summary` over all images, and the shares of
        the errors that lie within `WIDTHS` of a true boundary; ``images``: for each image its name
        and both summaries without the classes.
    """
    val = model.val
    totals = {stage: _new_score(val) for stage in ("coarse", "refined")}
    wrong = {stage: np.zeros(len(WIDTHS) + 1) for stage in totals}
    images = []
    for index, name in enumerate(val.names):
        truth = val.label(index)
        maps = {"coarse": model.coarse(index), "refined": model.refined(index)}
        images.append({"name": name})
        bands = [metrics.boundary_band(truth, width) for width in WIDTHS]
        for stage, prob in maps.items():
            labels = prob.argmax(axis=0)
            errors = (labels != truth) & (truth != val.ignore_label)
            wrong[stage] += [errors.sum(), *(errors[band].sum() for band in bands)]
            own = _new_score(val)
            own.add(truth, labels)
            totals[stage].confusion += own.confusion
            totals[stage].band_confusion += own.band_confusion
            images[-1][stage] = _plain(own.summary())
            del images[-1][stage]["class_iou"]
    result = {stage: _plain(total.summary()) for stage, total in totals.items()}
    for stage, counts in wrong.items():
        shares = _plain((counts[1:] / max(counts[0], 1)).tolist())
        result[stage]["errors_within"] = dict(zip(map(str, WIDTHS), shares, strict=True))
    return {**result, "images": images}


def _new_score(val: VocSet) -> metrics.SegmentationScore:
    return metrics.SegmentationScore(val.num_classes, val.ignore_label)


def _plain(value):
    """The same for JSON, which has no NaN: an image without a boundary has no accuracy there."""
    if isinstance(value, dict):
        return {name: _plain(v) for name, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return None if np.isnan(value) else round(value, 6)
