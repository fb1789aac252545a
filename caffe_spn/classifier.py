"""Classifier: a net that takes images and averages its predictions over their crops.

Source: `python/caffe/classifier.py` of BVLC Caffe, whose arguments and results this keeps.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from caffe_spn.errors import DataError
from caffe_spn.image_input import Transformer, oversample, resize_image
from caffe_spn.net import TEST, Net


class Classifier(Net):
    """A net in the TEST phase whose first input is an image.

    Parameters
    ----------
    model_file : path
        The deploy prototxt.
    pretrained_file : path
        Its weights.
    image_dims : (int, int), optional
        Height and width that images are resized to before crops of the size of the net's input are
        taken; by default the size of the input.
    mean : array, (C) or (C, H, W), optional
        What to subtract, in the net's order of channels.
    input_scale : float, optional
        A factor that is applied after the mean.
    raw_scale : float, optional
        A factor that is applied before the mean; 255 for images from `caffe.io.load_image`.
    channel_swap : sequence of int, optional
        The order of channels, (2, 1, 0) for nets that want blue, green, red.

    Attributes
    ----------
    transformer : Transformer
        Turns a crop (H, W, K) into what the input wants.
    crop_dims, image_dims : sequence of int
        Heights and widths.

    Examples
    --------
    ::

        classifier = caffe.Classifier(
            "deploy.prototxt", "net.caffemodel", image_dims=(256, 256),
            mean=np.array([104.0, 117.0, 123.0]), raw_scale=255, channel_swap=(2, 1, 0))
        probabilities = classifier.predict([caffe.io.load_image("cat.jpg")])
    """

    def __init__(
        self,
        model_file,
        pretrained_file,
        image_dims: Sequence[int] | None = None,
        mean: np.ndarray | None = None,
        input_scale: float | None = None,
        raw_scale: float | None = None,
        channel_swap: Sequence[int] | None = None,
        allow_python: bool = True,
    ):
        super().__init__(model_file, TEST, weights=pretrained_file, allow_python=allow_python)
        self.transformer = image_transformer(self, mean, input_scale, raw_scale, channel_swap)
        self.crop_dims = np.array(self.blobs[self.inputs[0]].shape[2:])
        self.image_dims = self.crop_dims if image_dims is None else image_dims

    def predict(self, inputs: Sequence[np.ndarray], oversample: bool = True) -> np.ndarray:
        """Classify images.

        Parameters
        ----------
        inputs : sequence of arrays (H, W, K)
            Of any sizes.
        oversample : bool, default True
            Average over ten crops: the corners, the centre and their mirror images. Otherwise the
            centre alone.

        Returns
        -------
        array
            The net's first output for each image: (N, classes) where crops are averaged, otherwise
            N times what the net puts out for one image.

        Raises
        ------
        DataError
            If there are no images, or crops of the net's size do not fit into `image_dims`.
        """
        if not len(inputs):
            raise DataError("there are no images to classify")
        images = np.stack([resize_image(image, self.image_dims) for image in inputs])
        crops = self._crops(images, oversample)
        name = self.inputs[0]
        prepared = np.stack([self.transformer.preprocess(name, crop) for crop in crops])
        predictions = self.forward_all(**{name: prepared})[self.outputs[0]]
        if oversample:
            return predictions.reshape(len(images), 10, -1).mean(axis=1)
        return predictions

    def _crops(self, images: np.ndarray, oversampled: bool) -> np.ndarray:
        if oversampled:
            return oversample(images, self.crop_dims)
        height, width = self.crop_dims
        top, left = (images.shape[1] - height) // 2, (images.shape[2] - width) // 2
        if top < 0 or left < 0:
            raise DataError(
                f"a crop of {height} x {width} does not fit into image_dims"
                f" {images.shape[1]} x {images.shape[2]}"
            )
        return images[:, top : top + height, left : left + width]


def image_transformer(
    net: Net,
    mean: np.ndarray | None = None,
    input_scale: float | None = None,
    raw_scale: float | None = None,
    channel_swap: Sequence[int] | None = None,
) -> Transformer:
    """The `Transformer` from images (H, W, K) to the first input of a net.

    Raises
    ------
    DataError
        If the net has no input of four axes, or a setting does not fit it.
    """
    if not net.inputs or len(net.blobs[net.inputs[0]].shape) != 4:
        raise DataError(
            "the net has no input (N, C, H, W) for images",
            help="give the deploy prototxt, which begins with an Input layer, not that of training",
        )
    name = net.inputs[0]
    transformer = Transformer({name: net.blobs[name].shape})
    transformer.set_transpose(name, (2, 0, 1))
    transformer.set_mean(name, mean)
    transformer.set_input_scale(name, input_scale)
    transformer.set_raw_scale(name, raw_scale)
    transformer.set_channel_swap(name, channel_swap)
    return transformer
