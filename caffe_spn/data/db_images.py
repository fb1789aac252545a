"""Image files as datums, as the convert_imageset tool stores them.

Source: `ReadImageToDatum` of BVLC Caffe.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass

import numpy as np

from caffe_spn.data.images import decode_image, read_image, resize
from caffe_spn.data.transformer import chw
from caffe_spn.errors import DataError
from caffe_spn.proto import caffe_pb2

# What OpenCV encodes with.
_JPEG_QUALITY = 95


@dataclass(frozen=True)
class ImageOptions:
    """How images become datums.

    Attributes
    ----------
    color : bool, default True
        Three channels, blue, green, red; otherwise one grey channel.
    size : (height, width), optional
        To resize to, bilinearly.
    encoded : bool, default False
        Keep an image file in the datum instead of pixels.
    encode_type : str, default ""
        Its kind, such as "png"; by default that of the file's name.
    """

    color: bool = True
    size: tuple[int, int] | None = None
    encoded: bool = False
    encode_type: str = ""


def image_to_datum(path: str, label: int, options: ImageOptions):
    """Read an image file into a `Datum`.

    Returns
    -------
    (Datum, (channels, height, width))
        The datum, and the size of its image; a datum with an image file does not state it.

    Raises
    ------
    DataError
        If the file is no image, or cannot be encoded as asked.
    """
    image = read_image(path, options.color)
    if options.size:
        image = resize(image, *options.size)
    pixels = chw(image)
    datum = caffe_pb2.Datum(label=label, encoded=options.encoded)
    if options.encoded:
        datum.data = _file_content(path, image, options)
    else:
        datum.channels, datum.height, datum.width = pixels.shape
        datum.data = np.ascontiguousarray(pixels).tobytes()
    return datum, pixels.shape


def _file_content(path: str, image: np.ndarray, options: ImageOptions) -> bytes:
    extension = os.path.splitext(path)[1].lower()
    kind = "." + options.encode_type.lower().lstrip(".") if options.encode_type else extension
    if kind == ".":
        raise DataError(
            "its name does not tell the kind of image", where=path, help="give --encode_type"
        )
    if not options.size and _canonical(kind) == _canonical(extension):
        with open(path, "rb") as file:
            content = file.read()
        # A colour file must not come back in colour when grey was asked for.
        if options.color or decode_image(content, None, path).ndim == 2:
            return content
    return _encode(image, kind, path)


def _canonical(extension: str) -> str:
    return ".jpg" if extension == ".jpeg" else extension


def _encode(image: np.ndarray, extension: str, where: str) -> bytes:
    from PIL import Image

    image_format = Image.registered_extensions().get(extension)
    if image_format not in Image.SAVE:
        raise DataError(
            f"there is no way to encode an image as '{extension[1:]}'",
            where=where,
            help="png and jpg are what OpenCV knows everywhere",
        )
    stream = io.BytesIO()
    rgb = image if image.ndim == 2 else image[:, :, ::-1]
    Image.fromarray(np.ascontiguousarray(rgb)).save(stream, image_format, quality=_JPEG_QUALITY)
    return stream.getvalue()
