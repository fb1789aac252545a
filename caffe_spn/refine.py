"""Refine coarse segmentations: run a refinement network over images of any size.

The network is fully convolutional, with the inputs ``image`` (1, 3, H, W: blue, green, red) and
``coarse`` (1, K, H, W: probabilities) and the output ``prob`` (1, K, H, W). It runs on the whole
image where memory allows, and otherwise on overlapping tiles.

Source: Liu et al., Learning Affinity via Spatial Propagation Networks, NIPS 2017, section 5.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from caffe_spn.data.coarse import sample_coarse
from caffe_spn.errors import DataError, PrototxtError, ShapeError
from caffe_spn.refine_plan import DEFAULT_MEMORY, DEFAULT_OVERLAP, plan, reshape_inputs


def refine(
    net,
    image: np.ndarray,
    coarse: np.ndarray,
    *,
    mean=0.0,
    scale: float = 1.0,
    tile: int | None = None,
    overlap: int = DEFAULT_OVERLAP,
    memory: float = DEFAULT_MEMORY,
    restrict_to_coarse: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Sharpen a coarse probability map under the guidance of its image.

    Parameters
    ----------
    net : Net
        A deploy network, as described above; its inputs are reshaped.
    image : array, (H, W, 3)
        Blue, green, red from 0 to 255, as `caffe_spn.data.images.read_image` gives it.
    coarse : array, (K, h, w)
        Class probabilities at any resolution; interpolated bilinearly to the image's.
    mean : float or three of them, default 0
        Subtracted from the image (in the order blue, green, red) before `scale` multiplies it,
        as in training (`mean_value` and `image_scale` of the SegmentationPatch layer).
    scale : float, default 1
    tile : int, optional
        The side of the tiles; by default as large as `memory` allows.
    overlap : int, default 64
        Pixels that neighbouring tiles share; their results are blended smoothly there.
    memory : float, default 2e9
        Bytes that the network may take, by estimate. The maps of the whole image, (K, H, W)
        float32, come on top.
    restrict_to_coarse : bool, default False
        Allow only the classes that are the most probable ones somewhere in `coarse`.
    progress : callable, optional
        Called with the numbers of tiles done and of all tiles, after each.

    Returns
    -------
    array of float32, (K, H, W)
        The refined probabilities.

    Raises
    ------
    PrototxtError
        If the net has other inputs or outputs.
    ShapeError
        If the classes do not agree, or the net does not keep the image's size.
    DataError
        If the coarse map has values that are not finite.

    Examples
    --------
    >>> net = caffe_spn.Net("deploy.prototxt", caffe_spn.TEST, weights="spn.caffemodel")
    ... # doctest: +SKIP
    >>> prob = refine(net, read_image("face.jpg"), np.load("face.npy"))  # doctest: +SKIP
    >>> labels = prob.argmax(axis=0)  # doctest: +SKIP
    """
    image, coarse = np.asarray(image), np.asarray(coarse)
    _check_maps(net, image, coarse)
    height, width = image.shape[:2]
    steps = plan(net, height, width, tile, overlap, memory)
    reshape_inputs(net, *steps.tile)
    rows, columns = _reflect(height, steps.rows[-1].stop), _reflect(width, steps.columns[-1].stop)
    out = None
    done = 0
    for down in steps.rows:
        for right in steps.columns:
            y, x = rows[down.start : down.stop], columns[right.start : right.stop]
            pixels = image[y[:, None], x].astype(np.float32)
            net.blobs["image"].data[0] = ((pixels - mean) * np.float32(scale)).transpose(2, 0, 1)
            net.blobs["coarse"].data[0] = sample_coarse(coarse, height, width, y, x)
            net.forward_loss()
            prob = _output(net, steps.tile)
            if out is None:
                out = np.zeros((len(prob), height, width), np.float32)
            # What lies outside the image was only there to fill the tile.
            kept = out[:, down.start : down.stop, right.start : right.stop]
            weight = down.weight[:, None] * right.weight
            kept += (prob * weight)[:, : kept.shape[1], : kept.shape[2]]
            done += 1
            if progress is not None:
                progress(done, steps.count)
    return restrict(out, coarse) if restrict_to_coarse else out


def restrict(prob: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """Give probability 0 to classes that are nowhere the most probable one in `coarse`.

    Parameters
    ----------
    prob : array, (K, H, W)
    coarse : array, (K, h, w)

    Returns
    -------
    array of float32, (K, H, W)
        The others sum to one again.
    """
    present = np.zeros(len(prob), bool)
    present[np.unique(coarse.argmax(axis=0))] = True
    kept = np.where(present[:, None, None], prob, np.float32(0))
    total = kept.sum(axis=0)
    even = present[:, None, None] / np.float32(present.sum())
    # A class can be as good as impossible after the refinement; then nothing is known.
    return np.divide(kept, total, out=np.broadcast_to(even, kept.shape).copy(), where=total > 0)


def one_hot(labels: np.ndarray, num_classes: int, ignore_label: int = 255) -> np.ndarray:
    """Probabilities (K, h, w) that are 1 for the label; ignored pixels get 1/K for each class.

    Raises
    ------
    DataError
        If a label is not a class.
    """
    known = labels != ignore_label
    if known.any() and labels[known].max() >= num_classes:
        raise DataError(
            f"has label {labels[known].max()}; the net's {num_classes} classes go from 0 to"
            f" {num_classes - 1}"
        )
    prob = (np.arange(num_classes)[:, None, None] == labels).astype(np.float32)
    prob[:, ~known] = 1 / num_classes
    return prob


def coarse_labels(coarse: np.ndarray, height: int, width: int) -> np.ndarray:
    """The most probable class of a coarse map at (height, width), in strips to save memory."""
    columns = np.arange(width)
    strips = [
        sample_coarse(coarse, height, width, rows, columns).argmax(axis=0).astype(np.uint8)
        for rows in np.array_split(np.arange(height), math.ceil(height / 64))
    ]
    return np.concatenate(strips)


def _check_maps(net, image: np.ndarray, coarse: np.ndarray) -> None:
    if set(net.inputs) != {"image", "coarse"}:
        found = ", ".join(f"'{name}' {net.blobs[name].shape}" for name in net.inputs) or "none"
        raise PrototxtError(
            f"the net's inputs are: {found}; a refinement net has 'image' (1, 3, H, W) and"
            " 'coarse' (1, K, H, W)",
            help="use a deploy prototxt, whose Input layers have these names",
        )
    channels = net.blobs["image"].shape[1]
    if image.ndim != 3 or image.shape[2] != channels or 0 in image.shape:
        raise ShapeError(
            f"the image is an array of shape {image.shape}; the net takes (height, width,"
            f" {channels})"
        )
    classes = net.blobs["coarse"].shape[1]
    if coarse.ndim != 3 or len(coarse) != classes or 0 in coarse.shape:
        raise ShapeError(
            f"the coarse map is an array of shape {coarse.shape}; the net takes ({classes},"
            " height, width)",
            help=f"it needs one plane of probabilities for each of the {classes} classes",
        )
    if not np.isfinite(coarse).all():
        raise DataError("the coarse map has values that are not finite")


def _reflect(size: int, padded: int) -> np.ndarray:
    """Indices from 0 to size - 1, then back again, as many as `padded`."""
    return np.pad(np.arange(size), (0, padded - size), mode="reflect")


def _output(net, tile: tuple[int, int]) -> np.ndarray:
    if "prob" in net.blobs:
        blob = net.blobs["prob"]
    elif len(net.outputs) == 1:
        blob = net.blobs[net.outputs[0]]
    else:
        raise PrototxtError(
            f"the net's outputs are {', '.join(net.outputs)}; which one has the probabilities?",
            help="call the top of the last Softmax layer 'prob'",
        )
    if len(blob.shape) != 4 or blob.shape[2:] != tile:
        raise ShapeError(
            f"the net's output is {blob.shape} for an input of height and width {tile}; a"
            " refinement net keeps the size",
            help="look at the strides and the up-sampling layers",
        )
    return blob.data[0]
