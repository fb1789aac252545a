"""Image and label files as arrays: what OpenCV's `imread` and `resize` give Caffe, without OpenCV.

Source: `ReadImageToCVMat` and `DecodeDatumToCVMat` of BVLC Caffe, and OpenCV's 8-bit INTER_LINEAR.
"""

from __future__ import annotations

import io
import os

import numpy as np

from caffe_spn.errors import DataError

# Of red, green and blue in grey, and what is added for rounding, in 15 bits. OpenCV rounds; where
# it reads a PNG, libpng has done it before, and cuts off.
_WEIGHTS = (9798, 19234, 3736, 16384)
_PNG_WEIGHTS = (9797, 19234, 3737, 0)

# Pixels of the largest image that is decoded; a small file can claim any size.
MAX_PIXELS = 2**28


def read_image(path: str | os.PathLike, color: bool = True) -> np.ndarray:
    """Read an image file as Caffe does.

    Parameters
    ----------
    path : path
        A file of any format that Pillow reads.
    color : bool, default True
        Three channels in the order blue, green, red; otherwise one grey channel.

    Returns
    -------
    array of uint8
        (H, W, 3) or, in grey, (H, W).

    Raises
    ------
    DataError
        If the file is missing or is not an image; the error names it.
    """
    path = os.fspath(path)
    _check_is_file(path, "image")
    with open(path, "rb") as stream:
        return _decode(stream, path, color)


def decode_image(content: bytes, color: bool | None = True, where: str | None = None) -> np.ndarray:
    """Decode an image that is held in memory, such as an encoded `Datum`.

    Parameters
    ----------
    content : bytes
        The file's content.
    color : bool or None, default True
        As in `read_image`; None keeps the channels that the image has, opacity included.
    where : str, optional
        What to name in an error.

    Returns
    -------
    array of uint8
        (H, W, 3), (H, W, 4) or (H, W).
    """
    return _decode(io.BytesIO(content), where, color)


def read_label(path: str | os.PathLike) -> np.ndarray:
    """Read a map of class indices without converting its colours.

    Parameters
    ----------
    path : path
        A palette or grey image; the pixel value is the class index.

    Returns
    -------
    array of uint8, (H, W)

    Raises
    ------
    DataError
        If the file is missing, broken, or an image of colours instead of indices.
    """
    from PIL import Image

    path = os.fspath(path)
    _check_is_file(path, "label map")
    try:
        with Image.open(path) as image:
            _check_size(image.size, path)
            mode, values = image.mode, np.asarray(image)
    except DataError:
        raise
    except Exception as error:  # Pillow raises nearly anything on a broken file
        raise DataError(f"cannot be read as a label map: {error}", where=path) from error
    if values.ndim != 2:
        raise DataError(
            f"holds colours (mode {mode}), where a label map holds class indices",
            where=path,
            help="save it as a palette or grey PNG whose pixel value is the class",
        )
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    if values.dtype != bool and (values.min() < 0 or values.max() > 255):
        raise DataError(
            f"has values from {values.min()} to {values.max()}; classes go from 0 to 255",
            where=path,
        )
    return values.astype(np.uint8)


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize an 8-bit image bilinearly, to the bit as OpenCV's INTER_LINEAR does.

    The centres of the corner pixels lie half a pixel inside; there is no smoothing before
    shrinking, but by exactly a half, where OpenCV takes the mean of four pixels. Positions are
    float32, weights have 11 bits, and the sum is rounded in two steps.

    Parameters
    ----------
    image : array of uint8, (H, W) or (H, W, C)
    height, width : int

    Returns
    -------
    array of uint8, (height, width) or (height, width, C)
    """
    if image.shape[:2] == (height, width):
        return image.copy()
    pixels = image.reshape(*image.shape[:2], -1).astype(np.int32)
    if image.shape[:2] == (2 * height, 2 * width):
        out = (sum(pixels[i::2, j::2] for i in (0, 1) for j in (0, 1)) + 2) >> 2
    else:
        out = _interpolate(pixels, height, width)
    return out.astype(np.uint8).reshape(height, width, *image.shape[2:])


def _interpolate(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    x0, x1, left, right = _linear_weights(pixels.shape[1], width)
    # Columns beyond the edge have the weight 0; rows there are the edge's row, taken twice, which
    # rounds differently.
    outside = (x0 < 0) | (x1 >= pixels.shape[1])
    left[outside], right[outside] = 2048, 0
    x0, x1 = (np.clip(x, 0, pixels.shape[1] - 1) for x in (x0, x1))
    rows = pixels[:, x0] * left[:, None] + pixels[:, x1] * right[:, None]
    y0, y1, above, below = _linear_weights(pixels.shape[0], height)
    upper, lower = (rows[np.clip(y, 0, pixels.shape[0] - 1)] >> 4 for y in (y0, y1))
    upper = (upper * above[:, None, None]) >> 16
    lower = (lower * below[:, None, None]) >> 16
    return np.clip((upper + lower + 2) >> 2, 0, 255)


def _linear_weights(size: int, new_size: int) -> tuple[np.ndarray, ...]:
    """For each new pixel: its neighbours before and behind, and their weights of 11 bits."""
    scale = 1 / (new_size / size)
    position = ((np.arange(new_size) + 0.5) * scale - 0.5).astype(np.float32)
    first = np.floor(position).astype(np.int64)
    fraction = position - first.astype(np.float32)
    weights = (np.rint(f * 2048).astype(np.int32) for f in (1 - fraction, fraction))
    return first, first + 1, *weights


def _decode(stream, where: str | None, color: bool | None) -> np.ndarray:
    from PIL import Image, ImageOps

    try:
        with Image.open(stream) as image:
            _check_size(image.size, where)
            if color is None:
                return _as_it_is(image)
            weights = _PNG_WEIGHTS if image.format == "PNG" else _WEIGHTS
            if not color and image.format == "JPEG":
                # libjpeg hands out its luminance channel, which is what OpenCV asks it for.
                image.draft("L", image.size)
            if image.getexif().get(0x0112, 1) != 1:
                image = ImageOps.exif_transpose(image)
            return _as_bgr(image) if color else _as_gray(image, weights)
    except DataError:
        raise
    except Exception as error:  # Pillow raises nearly anything on a broken file
        raise DataError(
            f"cannot be decoded as an image: {error}", where=where, help="is the file complete?"
        ) from error


def _as_it_is(image) -> np.ndarray:
    """What OpenCV's IMREAD_UNCHANGED gives: opacity as a fourth channel, never turned."""
    if image.mode in ("1", "L", "F") or image.mode.startswith("I"):
        return _as_gray(image)
    if "transparency" in image.info or image.mode in ("RGBA", "RGBa", "LA", "La", "PA"):
        values = np.asarray(image.convert("RGBA"))
        return np.ascontiguousarray(values[:, :, [2, 1, 0, 3]])
    return _as_bgr(image)


def _as_bgr(image) -> np.ndarray:
    image = _eight_bits(image).convert("RGB")
    # Pillow turns the channels round four times as fast as NumPy does.
    values = np.frombuffer(image.tobytes("raw", "BGR"), np.uint8)
    return values.reshape(image.height, image.width, 3).copy()


def _as_gray(image, weights: tuple[int, int, int, int] = _WEIGHTS) -> np.ndarray:
    image = _eight_bits(image)
    if image.mode == "L":
        return np.ascontiguousarray(np.asarray(image))
    red, green, blue = np.moveaxis(np.asarray(image.convert("RGB")).astype(np.int32), 2, 0)
    total = weights[0] * red + weights[1] * green + weights[2] * blue + weights[3]
    return (total >> 15).astype(np.uint8)


def _eight_bits(image):
    """Pillow clips 16-bit grey images when it converts them; OpenCV keeps the upper byte."""
    from PIL import Image

    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).astype(np.uint8))
    return image.convert("L") if image.mode in ("1", "LA", "La") else image


def _check_size(size: tuple[int, int], where: str | None) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise DataError(
            f"claims {size[0]} x {size[1]} pixels; at most {MAX_PIXELS} are decoded", where=where
        )


def _check_is_file(path: str, what: str) -> None:
    if not os.path.isfile(path):
        raise DataError(
            f"no such {what}" if not os.path.exists(path) else f"is not a file, so no {what}",
            where=path,
            help="relative paths start at the current directory, " + os.getcwd(),
        )
