"""Detector: a net that classifies windows of images, as R-CNN does.

Source: `python/caffe/detector.py` of BVLC Caffe, whose arguments and results this keeps; the crops
with context follow R-CNN (Girshick et al., arXiv:1311.2524, appendix A).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np

from caffe_spn.classifier import image_transformer
from caffe_spn.errors import CaffeSpnError, DataError
from caffe_spn.image_input import load_image, resize_image
from caffe_spn.net import TEST, Net


class Detector(Net):
    """A net in the TEST phase whose first input is a window of an image.

    Parameters
    ----------
    model_file, pretrained_file : path
        The deploy prototxt and its weights.
    mean, input_scale, raw_scale, channel_swap : optional
        As for `Classifier`.
    context_pad : int, optional
        So many pixels on each side of the net's input show what lies around the window; what lies
        outside the image is filled with the mean. The input must be square.

    Attributes
    ----------
    transformer : Transformer
        Turns a crop (H, W, K) into what the input wants.
    crop_dims : array of int, (3)
        Height, width and channels of the input.
    crop_mean : array, broadcast to `crop_dims`
        The mean as the images have it; only with `context_pad`.
    """

    def __init__(
        self,
        model_file,
        pretrained_file,
        mean: np.ndarray | None = None,
        input_scale: float | None = None,
        raw_scale: float | None = None,
        channel_swap: Sequence[int] | None = None,
        context_pad: int | None = None,
        allow_python: bool = True,
    ):
        super().__init__(model_file, TEST, weights=pretrained_file, allow_python=allow_python)
        self.transformer = image_transformer(self, mean, input_scale, raw_scale, channel_swap)
        self.configure_crop(context_pad)

    def detect_windows(self, images_windows: Iterable) -> list[dict]:
        """Classify windows of images.

        Parameters
        ----------
        images_windows : iterable of (path, windows)
            For each image its windows (ymin, xmin, ymax, xmax).

        Returns
        -------
        list of dict
            For each window, in order: 'filename', 'window', and 'prediction', the net's first
            output.

        Raises
        ------
        DataError
            If an image cannot be read, or a window lies outside it.
        """
        name = self.inputs[0]
        batch_size = self.blobs[name].shape[0]
        crops = self._crops(images_windows)
        detections = []
        # Batch by batch: the crops of all windows of a data set do not fit into memory.
        while batch := list(islice(crops, batch_size)):
            prepared = np.stack([self.transformer.preprocess(name, crop) for _, _, crop in batch])
            predictions = self.forward_all(**{name: prepared})[self.outputs[0]]
            detections += [
                {"window": window, "prediction": prediction, "filename": path}
                for (path, window, _), prediction in zip(batch, predictions, strict=True)
            ]
        return detections

    def _crops(self, images_windows: Iterable) -> Iterator[tuple]:
        for path, windows in images_windows:
            image = load_image(path)
            for window in windows:
                try:
                    crop = self.crop(image, window)
                except DataError as error:
                    raise DataError(error.message, os.fspath(path), error.help) from error
                yield path, window, crop

    def detect_selective_search(self, image_fnames: Iterable) -> list[dict]:
        """Classify the windows that Selective Search proposes for images.

        The proposals come from MATLAB code, by the package `selective_search_ijcv_with_python`,
        which must be importable.

        Parameters
        ----------
        image_fnames : iterable of path

        Returns
        -------
        list of dict
            As from `detect_windows`.

        Raises
        ------
        CaffeSpnError
            If that package is not there.
        """
        try:
            import selective_search_ijcv_with_python as selective_search
        except ImportError as error:
            raise CaffeSpnError(
                "Selective Search is MATLAB code, which is reached through the package"
                " selective_search_ijcv_with_python; it is not installed",
                help="put github.com/sergeyk/selective_search_ijcv_with_python on PYTHONPATH and"
                " matlab on PATH, or give windows of your own to detect_windows",
            ) from error
        # MATLAB runs in a directory of its own.
        paths = [os.path.abspath(path) for path in image_fnames]
        windows = selective_search.get_windows(paths, cmd="selective_search_rcnn")
        return self.detect_windows(zip(paths, windows, strict=True))

    def crop(self, im: np.ndarray, window: Sequence[float]) -> np.ndarray:
        """The part of an image in a window, with its context where `context_pad` is set.

        Parameters
        ----------
        im : array, (H, W, K)
        window : (ymin, xmin, ymax, xmax)

        Returns
        -------
        array, (height, width, K)
            As large as the window; with context, as large as the net's input.

        Raises
        ------
        DataError
            If the window has no pixel of the image.
        """
        if self.context_pad:
            return self._with_context(im, np.array(window, float))
        top, left, bottom, right = (max(int(edge), 0) for edge in window)
        crop = im[top:bottom, left:right]
        if not crop.size:
            raise _outside(im, window)
        return crop

    def _with_context(self, im: np.ndarray, window: np.ndarray) -> np.ndarray:
        size = int(self.crop_dims[1])
        half = (window[2:] - window[:2] + 1) / 2
        center = window[:2] + half
        half *= size / (size - 2 * self.context_pad)
        low, high = np.round(center - half), np.round(center + half)
        # From pixels of the image to those of the crop; a box holds its last row and column.
        scale = size / (high - low + 1)
        offset = np.round(np.maximum(0, -low) * scale).astype(int)
        low, high = np.clip(low, 0, im.shape[:2]), np.clip(high, 0, im.shape[:2])
        extent = np.minimum(np.round((high - low + 1) * scale), size - offset).astype(int)
        (top, left), (bottom, right) = low.astype(int), high.astype(int)
        if bottom <= top or right <= left or min(extent) < 1:
            raise _outside(im, window)
        inside = resize_image(im[top:bottom, left:right], extent)
        crop = np.empty(self.crop_dims, np.float32)
        crop[...] = self.crop_mean
        crop[offset[0] : offset[0] + extent[0], offset[1] : offset[1] + extent[1]] = inside
        return crop

    def configure_crop(self, context_pad: int | None) -> None:
        """Set `context_pad`, and work out the mean that fills what lies outside an image."""
        name = self.inputs[0]
        order = np.argsort(self.transformer.transpose[name])
        self.crop_dims = np.array(self.blobs[name].shape[1:])[order]
        self.context_pad = context_pad
        if not context_pad:
            return
        height, width, _ = self.crop_dims
        if height != width or not 0 < 2 * context_pad < width:
            raise DataError(
                f"context_pad {context_pad} does not fit an input of {height} x {width}",
                help="the input must be square, and wider than twice context_pad",
            )
        self.crop_mean = np.zeros(self.crop_dims, np.float32)
        mean = self.transformer.mean.get(name)
        if mean is None:
            return
        mean = np.asarray(mean, np.float32)
        if mean.ndim == 2:
            mean = mean[np.newaxis]
        mean = mean.transpose(order)
        swap = self.transformer.channel_swap.get(name)
        if swap is not None and mean.shape[2] > 1:
            mean = mean[:, :, np.argsort(swap)]
        self.crop_mean = mean / self.transformer.raw_scale.get(name, 1)


def _outside(im: np.ndarray, window: Sequence[float]) -> DataError:
    edges = ", ".join(f"{edge:g}" for edge in window)
    return DataError(
        f"the window (ymin, xmin, ymax, xmax) = ({edges}) has no pixel of the image,"
        f" {im.shape[0]} x {im.shape[1]} (h x w)"
    )
