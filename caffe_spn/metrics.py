"""How good a segmentation is: accuracies and intersection over union, from one confusion matrix.

Source: Long, Shelhamer, Darrell, Fully Convolutional Networks, CVPR 2015 (pixel accuracy, mean
accuracy, mean IoU); Kohli, Ladicky, Torr, Robust Higher Order Potentials, CVPR 2008 (the accuracy
in a band around the boundaries).
"""

from __future__ import annotations

import numpy as np

from caffe_spn.errors import DataError, ShapeError

BAND_WIDTH = 3


def confusion_matrix(
    truth: np.ndarray,
    prediction: np.ndarray,
    num_classes: int,
    ignore_label: int | None = 255,
    mask: np.ndarray | None = None,
) -> np.ndarray:
    """Count pixels by true and predicted class; the matrices of many images add up.

    Parameters
    ----------
    truth, prediction : arrays of int, equal shape
        Class indices.
    num_classes : int
    ignore_label : int or None, default 255
        Pixels of this truth are not counted.
    mask : array of bool, optional
        Only these pixels are counted.

    Returns
    -------
    array of int64, (num_classes, num_classes)
        Element (t, p): pixels of class t that were called p.

    Raises
    ------
    ShapeError
        If the shapes differ.
    DataError
        If a counted value is not a class.
    """
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    if truth.shape != prediction.shape:
        raise ShapeError(f"the truth is {truth.shape}, the prediction {prediction.shape}")
    counted = np.ones(truth.shape, bool) if mask is None else np.array(mask, bool)
    if ignore_label is not None:
        counted &= truth != ignore_label
    truth, prediction = truth[counted].astype(np.int64), prediction[counted].astype(np.int64)
    for name, values in (("truth", truth), ("prediction", prediction)):
        if values.size and not 0 <= values.min() <= values.max() < num_classes:
            raise DataError(
                f"the {name} has values from {values.min()} to {values.max()};"
                f" {num_classes} classes go from 0 to {num_classes - 1}"
            )
    pairs = np.bincount(truth * num_classes + prediction, minlength=num_classes**2)
    return pairs.reshape(num_classes, num_classes)


def accuracy(confusion: np.ndarray) -> float:
    """The share of pixels that are right; NaN when there are none."""
    return _ratio(np.trace(confusion), confusion.sum())


def class_accuracy(confusion: np.ndarray) -> np.ndarray:
    """For each class, the share of its true pixels that are right; NaN where it has none."""
    return _ratio(np.diag(confusion), confusion.sum(axis=1))


def mean_accuracy(confusion: np.ndarray) -> float:
    """The mean of `class_accuracy` over the classes that occur in the truth."""
    return _mean(class_accuracy(confusion))


def class_iou(confusion: np.ndarray) -> np.ndarray:
    """For each class, intersection over union; NaN where neither truth nor prediction has it."""
    right = np.diag(confusion)
    return _ratio(right, confusion.sum(axis=0) + confusion.sum(axis=1) - right)


def mean_iou(confusion: np.ndarray) -> float:
    """The mean of `class_iou` over the classes that occur."""
    return _mean(class_iou(confusion))


def boundary_band(truth: np.ndarray, width: int = BAND_WIDTH) -> np.ndarray:
    """The pixels within `width` pixels of a boundary of the truth.

    A boundary lies between two pixels that are neighbours in a row or a column and differ;
    the pixels on either side of it are 1 pixel away, and distances are Euclidean. A change to
    the ignore label is a boundary too, since PASCAL VOC draws its boundaries as ignored strips;
    the ignored pixels themselves are left out when the confusion matrix is counted.

    Parameters
    ----------
    truth : array of int, (H, W)
    width : int, default 3

    Returns
    -------
    array of bool, (H, W)
    """
    from scipy.ndimage import distance_transform_edt

    truth = np.asarray(truth)
    edge = np.zeros(truth.shape, bool)
    vertical = truth[1:] != truth[:-1]
    horizontal = truth[:, 1:] != truth[:, :-1]
    edge[1:] |= vertical
    edge[:-1] |= vertical
    edge[:, 1:] |= horizontal
    edge[:, :-1] |= horizontal
    if not edge.any():
        return edge
    return distance_transform_edt(~edge) <= width - 1


class SegmentationScore:
    """Adds up images and tells their scores.

    Parameters
    ----------
    num_classes : int
    ignore_label : int or None, default 255
    band_width : int, default 3
        Of the boundary band; see `boundary_band`.

    Examples
    --------
    >>> score = SegmentationScore(num_classes=2)
    >>> score.add(truth=np.array([[0, 0, 1, 255]]), prediction=np.array([[0, 1, 1, 0]]))
    >>> round(score.summary()["accuracy"], 3), score.summary()["mean_iou"]
    (0.667, 0.5)
    """

    def __init__(
        self, num_classes: int, ignore_label: int | None = 255, band_width: int = BAND_WIDTH
    ):
        self.num_classes = num_classes
        self.ignore_label = ignore_label
        self.band_width = band_width
        self.confusion = np.zeros((num_classes, num_classes), np.int64)
        self.band_confusion = np.zeros((num_classes, num_classes), np.int64)

    def add(self, truth: np.ndarray, prediction: np.ndarray) -> None:
        """Count one image, two (H, W) arrays of class indices."""
        arguments = (truth, prediction, self.num_classes, self.ignore_label)
        self.confusion += confusion_matrix(*arguments)
        self.band_confusion += confusion_matrix(
            *arguments, mask=boundary_band(truth, self.band_width)
        )

    def summary(self) -> dict:
        """accuracy, mean_accuracy, mean_iou, boundary_accuracy, and class_iou (a list)."""
        return {
            "accuracy": accuracy(self.confusion),
            "mean_accuracy": mean_accuracy(self.confusion),
            "mean_iou": mean_iou(self.confusion),
            "boundary_accuracy": accuracy(self.band_confusion),
            "class_iou": class_iou(self.confusion).tolist(),
        }


def _ratio(part, whole):
    part, whole = np.asarray(part, float), np.asarray(whole, float)
    out = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return out if out.ndim else float(out)


def _mean(values: np.ndarray) -> float:
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else float("nan")
