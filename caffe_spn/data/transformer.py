"""Caffe's transformation of input images: crop, mirror, mean and scale.

    top = (pixel - mean) * scale

Source: `DataTransformer` of BVLC Caffe.
"""

from __future__ import annotations

import os

import numpy as np

from caffe_spn.data.images import decode_image
from caffe_spn.errors import DataError, PrototxtError
from caffe_spn.proto import caffe_pb2


class DataTransformer:
    """What `transform_param` asks for, applied to one image at a time.

    Parameters
    ----------
    param : TransformationParameter
        `scale`, `mirror`, `crop_size`, `mean_file` or `mean_value` (one, or one a channel),
        `force_color`, `force_gray`.
    phase : int
        In TRAIN a crop lies at random, in TEST in the centre.
    where : str, optional
        What to name in an error.

    Raises
    ------
    PrototxtError
        If both a mean file and mean values are given, or both colour and grey are forced.
    DataError
        If the mean file cannot be read.
    """

    def __init__(self, param, phase: int, where: str | None = None):
        self.where = where
        self.crop = param.crop_size
        self.mirror = param.mirror
        self.scale = np.float32(param.scale)
        self.random_crop = phase == caffe_pb2.TRAIN
        self.force_color = param.force_color
        self.force_gray = param.force_gray
        self.mean = None
        if param.force_color and param.force_gray:
            raise PrototxtError("cannot set both force_color and force_gray", where=where)
        if param.HasField("mean_file"):
            if param.mean_value:
                raise PrototxtError(
                    "cannot specify mean_file and mean_value at the same time", where=where
                )
            self.mean = read_mean(param.mean_file)
        elif param.mean_value:
            self.mean = np.array(param.mean_value, np.float32)[:, None, None]

    def shape(self, image: np.ndarray) -> tuple[int, int, int]:
        """The (C, H, W) that `transform` gives for an image of this size."""
        channels, height, width = image.shape
        return (channels, self.crop, self.crop) if self.crop else (channels, height, width)

    def transform(
        self,
        image: np.ndarray,
        rng: np.random.Generator | None = None,
        name: str | None = None,
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        """Crop, mirror, subtract the mean and scale.

        Parameters
        ----------
        image : array, (C, H, W)
        rng : numpy Generator, optional
            Needed for a mirror and for a crop in the TRAIN phase.
        name : str, optional
            The image's, for errors.
        out : array of float32, optional
            Where to put the result; its shape is that of `shape(image)`.

        Returns
        -------
        array of float32, (C, crop, crop) or (C, H, W)

        Raises
        ------
        DataError
            If the image is smaller than the crop, or the mean does not fit.
        """
        height, width = image.shape[1:]
        mean = self._mean_for(image.shape, name)
        mirrored = self.mirror and rng.integers(2) == 1
        if self.crop:
            if height < self.crop or width < self.crop:
                raise DataError(
                    f"an image of {width} x {height} (w x h) is smaller than crop_size {self.crop}",
                    where=name or self.where,
                    help="resize with new_height and new_width, or crop less",
                )
            if self.random_crop:
                top = int(rng.integers(height - self.crop + 1))
                left = int(rng.integers(width - self.crop + 1))
            else:
                top, left = (height - self.crop) // 2, (width - self.crop) // 2
            window = np.s_[:, top : top + self.crop, left : left + self.crop]
            image = image[window]
            if mean is not None and mean.shape[1:] != (1, 1):
                mean = mean[window]
        values = np.empty(image.shape, np.float32) if out is None else out
        target = values[:, :, ::-1] if mirrored else values
        target[...] = image
        if mean is not None:
            target -= mean
        if self.scale != 1:
            values *= self.scale
        return values

    def datum_image(self, datum) -> np.ndarray:
        """The pixels of a `Datum`, in colour or grey as the parameters ask for."""
        return datum_image(datum, self.force_color, self.force_gray)

    def transform_datum(self, datum, rng: np.random.Generator | None = None) -> np.ndarray:
        """`transform` for a `Datum`: decoded first where it holds an image file's bytes."""
        return self.transform(self.datum_image(datum), rng)

    def _mean_for(self, shape: tuple[int, int, int], name: str | None):
        mean = self.mean
        if mean is None:
            return None
        if mean.shape[1:] == (1, 1) and mean.shape[0] in (1, shape[0]):
            return mean
        if mean.shape != shape:
            kind = "mean values" if mean.shape[1:] == (1, 1) else "a mean image"
            raise DataError(
                f"{kind} of shape {mean.shape} cannot be subtracted from an image of shape {shape}",
                where=name or self.where,
                help="give one mean_value, or one for each channel, or the mean of equal images",
            )
        return mean


def datum_image(datum, force_color: bool = False, force_gray: bool = False) -> np.ndarray:
    """The pixels of a `Datum`, (C, H, W); uint8, or float32 where it holds floats.

    Raises
    ------
    DataError
        If the datum holds more or fewer values than its dimensions say.
    """
    if datum.encoded:
        image = decode_image(datum.data, True if force_color else False if force_gray else None)
        return chw(image)
    shape = (datum.channels, datum.height, datum.width)
    if datum.data:
        values = np.frombuffer(datum.data, np.uint8)
    else:
        values = np.array(datum.float_data, np.float32)
    if min(shape) < 0 or values.size != int(np.prod(shape, dtype=object)):
        raise DataError(
            f"a datum of channels, height, width {shape} holds {values.size} values",
            help="was it written as an encoded image without its 'encoded' flag?",
        )
    return values.reshape(shape)


def chw(image: np.ndarray) -> np.ndarray:
    """(H, W, C) or (H, W) as (C, H, W)."""
    return image[None] if image.ndim == 2 else np.moveaxis(image, 2, 0)


def read_mean(path: str | os.PathLike) -> np.ndarray:
    """Read a mean image, a `BlobProto` in binary (mean.binaryproto), as (C, H, W) float32.

    Raises
    ------
    DataError
        If the file is missing or holds something else.
    """
    from google.protobuf.message import DecodeError

    path = os.fspath(path)
    if not os.path.isfile(path):
        raise DataError(
            "no such mean file",
            where=path,
            help="`caffe-spn compute_image_mean` writes one; or give mean_value",
        )
    blob = caffe_pb2.BlobProto()
    try:
        with open(path, "rb") as stream:
            blob.ParseFromString(stream.read())
    except DecodeError as error:
        raise DataError("is not a mean image in binary (a BlobProto)", where=path) from error
    shape = tuple(blob.shape.dim) or (blob.num, blob.channels, blob.height, blob.width)
    values = np.array(blob.data if blob.data else blob.double_data, np.float32)
    shape = (1,) * (4 - len(shape)) + shape
    if len(shape) != 4 or shape[0] != 1 or values.size != int(np.prod(shape, dtype=object)):
        raise DataError(
            f"holds {values.size} values for the shape {shape}; a mean image is (1, C, H, W)",
            where=path,
        )
    return values.reshape(shape[1:])
