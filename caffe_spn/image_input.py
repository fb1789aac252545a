"""Images as a net wants its inputs: loading, resizing, cropping, and `Transformer`.

Source: `python/caffe/io.py` of BVLC Caffe, whose names, arguments and results these keep; scripts
find them in `caffe_spn.io`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np

from caffe_spn.errors import DataError


def load_image(filename: str | os.PathLike, color: bool = True) -> np.ndarray:
    """Read an image as floats.

    Parameters
    ----------
    filename : path
    color : bool, default True
        False gives one grey channel; True repeats the channel of a grey image.

    Returns
    -------
    array of float32, (H, W, 3) or (H, W, 1)
        Red, green, blue; from 0 to 1.

    Raises
    ------
    DataError
        If the file cannot be read as an image.
    """
    import skimage
    import skimage.io

    filename = os.fspath(filename)
    if not os.path.isfile(filename):
        raise DataError("no such image", where=filename)
    try:
        image = skimage.io.imread(filename, as_gray=not color)
    except Exception as error:  # each of its plug-ins raises what it likes
        raise DataError(f"cannot be read as an image: {error}", where=filename) from error
    image = skimage.img_as_float(image).astype(np.float32)
    if image.ndim == 2:
        return np.repeat(image[:, :, np.newaxis], 3 if color else 1, axis=2)
    return image[:, :, :3] if image.shape[2] == 4 else image


def resize_image(im: np.ndarray, new_dims: Sequence[int], interp_order: int = 1) -> np.ndarray:
    """Resize an image.

    Parameters
    ----------
    im : array, (H, W, K)
    new_dims : (int, int)
        The new height and width.
    interp_order : int, default 1
        Of the spline; 1 is bilinear.

    Returns
    -------
    array of float32, (height, width, K)

    Notes
    -----
    As in pycaffe, one or three channels are resized by scikit-image, without smoothing and with
    the image's minimum outside its border (so an enlarged image fades there); any other number
    is resized by `scipy.ndimage.zoom`, which keeps the corner pixels in the corners.
    """
    height, width = (int(d) for d in new_dims)
    if im.shape[-1] not in (1, 3):
        from scipy.ndimage import zoom

        factors = (height / im.shape[0], width / im.shape[1], 1)
        return zoom(im, factors, order=interp_order).astype(np.float32)
    low, high = im.min(), im.max()
    if not high > low:
        return np.full((height, width, im.shape[-1]), low, np.float32)
    from skimage.transform import resize

    # Between 0 and 1, since scikit-image clips to that range.
    unit = resize(
        (im - low) / (high - low),
        (height, width),
        order=interp_order,
        mode="constant",
        anti_aliasing=False,
    )
    return (unit * (high - low) + low).astype(np.float32)


def oversample(images: Sequence[np.ndarray], crop_dims: Sequence[int]) -> np.ndarray:
    """Crop the four corners and the centre of images, and mirror these crops.

    Parameters
    ----------
    images : sequence of arrays (H, W, K), equal in size
    crop_dims : (int, int)
        Height and width of the crops.

    Returns
    -------
    array of float32, (10 * N, crop height, crop width, K)
        For each image: top left, top right, bottom left, bottom right, centre; then mirrored.
    """
    height, width, channels = images[0].shape
    crop_height, crop_width = (int(d) for d in crop_dims)
    down, right = height - crop_height, width - crop_width
    if down < 0 or right < 0:
        raise DataError(
            f"crops of {crop_height} x {crop_width} do not fit into images of {height} x {width}"
        )
    corners = [(0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)]
    crops = np.empty((10 * len(images), crop_height, crop_width, channels), np.float32)
    for n, image in enumerate(images):
        for i, (top, left) in enumerate(corners):
            crop = image[top : top + crop_height, left : left + crop_width]
            crops[10 * n + i] = crop
            crops[10 * n + 5 + i] = crop[:, ::-1]
    return crops


class Transformer:
    """Turn images into what a net's inputs want, and back.

    Parameters
    ----------
    inputs : dict of str to shape
        The shapes (N, C, H, W) of the net's inputs, such as
        ``{"data": net.blobs["data"].data.shape}``.

    Examples
    --------
    >>> transformer = Transformer({"data": (1, 3, 4, 6)})
    >>> transformer.set_transpose("data", (2, 0, 1))         # (H, W, C) to (C, H, W)
    >>> transformer.set_channel_swap("data", (2, 1, 0))      # RGB to BGR
    >>> transformer.set_raw_scale("data", 255)               # from 0..1 to 0..255
    >>> transformer.set_mean("data", np.array([104.0, 117.0, 123.0]))
    >>> transformer.preprocess("data", np.ones((8, 8, 3), np.float32))[:, 0, 0].tolist()
    [151.0, 138.0, 132.0]
    """

    def __init__(self, inputs: Mapping[str, Sequence[int]]):
        self.inputs = inputs
        self.transpose: dict[str, Sequence[int]] = {}
        self.channel_swap: dict[str, Sequence[int]] = {}
        self.raw_scale: dict[str, float] = {}
        self.mean: dict[str, np.ndarray] = {}
        self.input_scale: dict[str, float] = {}

    def preprocess(self, in_: str, data: np.ndarray) -> np.ndarray:
        """Format an image for an input.

        In this order: to float32, resize to the input's height and width, transpose, swap
        channels, multiply by `raw_scale`, subtract the mean, multiply by `input_scale`.

        Parameters
        ----------
        in_ : str
            The input's name.
        data : array, (H, W, K)

        Returns
        -------
        array of float32, (K, H, W) of the input
        """
        self._check_input(in_)
        # A copy, so that the scaling below leaves the caller's image alone.
        values = np.array(data, np.float32)
        size = tuple(self.inputs[in_][2:])
        if values.shape[:2] != size:
            values = resize_image(values, size)
        if in_ in self.transpose:
            values = values.transpose(self.transpose[in_])
        if in_ in self.channel_swap:
            values = values[list(self.channel_swap[in_]), :, :]
        if in_ in self.raw_scale:
            values *= self.raw_scale[in_]
        if in_ in self.mean:
            values -= self.mean[in_]
        if in_ in self.input_scale:
            values *= self.input_scale[in_]
        return values

    def deprocess(self, in_: str, data: np.ndarray) -> np.ndarray:
        """Undo `preprocess`, except for the resizing."""
        self._check_input(in_)
        values = data.copy().squeeze()
        if in_ in self.input_scale:
            values /= self.input_scale[in_]
        if in_ in self.mean:
            values += self.mean[in_]
        if in_ in self.raw_scale:
            values /= self.raw_scale[in_]
        if in_ in self.channel_swap:
            values = values[np.argsort(self.channel_swap[in_]), :, :]
        if in_ in self.transpose:
            values = values.transpose(np.argsort(self.transpose[in_]))
        return values

    def set_transpose(self, in_: str, order: Sequence[int] | None) -> None:
        """Set the order of the image's axes, (2, 0, 1) for (H, W, C) to (C, H, W)."""
        self._check_input(in_)
        if order is not None and len(order) != len(self.inputs[in_]) - 1:
            raise DataError(
                "Transpose order needs to have the same number of dimensions as the input:"
                f" {len(order)}, not {len(self.inputs[in_]) - 1}"
            )
        _set(self.transpose, in_, order)

    def set_channel_swap(self, in_: str, order: Sequence[int] | None) -> None:
        """Set the order of the channels, (2, 1, 0) for RGB to BGR."""
        self._check_input(in_)
        if order is not None and len(order) != self.inputs[in_][1]:
            raise DataError(
                "Channel swap needs to have the same number of dimensions as the input channels:"
                f" {len(order)}, not {self.inputs[in_][1]}"
            )
        _set(self.channel_swap, in_, order)

    def set_raw_scale(self, in_: str, scale: float | None) -> None:
        """Set the factor that is applied before the mean, 255 for images from 0 to 1."""
        self._check_input(in_)
        _set(self.raw_scale, in_, scale)

    def set_mean(self, in_: str, mean: np.ndarray | None) -> None:
        """Set what to subtract: (C) values, or a mean image (C, H, W), resized where it must be."""
        self._check_input(in_)
        _set(self.mean, in_, None if mean is None else self._fitting_mean(in_, mean))

    def set_input_scale(self, in_: str, scale: float | None) -> None:
        """Set the factor that is applied after the mean."""
        self._check_input(in_)
        _set(self.input_scale, in_, scale)

    def _fitting_mean(self, in_: str, mean: np.ndarray) -> np.ndarray:
        shape = tuple(self.inputs[in_][1:])
        if mean.ndim == 1:
            if len(mean) != shape[0]:
                raise DataError(
                    f"Mean channels incompatible with input. {len(mean)}, not {shape[0]}"
                )
            return mean[:, np.newaxis, np.newaxis]
        if mean.ndim not in (2, 3):
            raise DataError(f"Mean shape invalid. {mean.shape} is not (C), (H, W) or (C, H, W)")
        image = mean if mean.ndim == 3 else mean[np.newaxis]
        if image.shape == shape:
            return mean
        if image.shape[0] not in (1, shape[0]):
            raise DataError(f"Mean shape {mean.shape} incompatible with input shape {shape}")
        return resize_image(image.transpose(1, 2, 0), shape[1:]).transpose(2, 0, 1)

    def _check_input(self, in_: str) -> None:
        if in_ not in self.inputs:
            raise DataError(f"{in_} is not one of the net inputs: {list(self.inputs)}")


def _set(settings: dict, in_: str, value) -> None:
    """None, as scripts pass it on for "no such setting", removes a setting."""
    if value is None:
        settings.pop(in_, None)
    else:
        settings[in_] = value
