"""caffe-spn compute_image_mean: the mean of the images in a database."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from caffe_spn.errors import DataError
from caffe_spn.tools import arguments

SOURCE = "compute_image_mean.cpp"


def parser() -> arguments.Parser:
    parser = arguments.Parser(
        "compute_image_mean",
        """
        Average the images of a database, pixel by pixel, and print the mean of each channel, as
        Caffe's compute_image_mean does. All images must be of one size.
        """,
        "caffe-spn compute_image_mean train_lmdb mean.binaryproto",
    )
    parser.add_argument("db", metavar="INPUT_DB", help="a database of datums")
    parser.add_argument(
        "output",
        metavar="OUTPUT_FILE",
        nargs="?",
        help="where to write the mean image, for transform_param's mean_file",
    )
    arguments.add_backend(parser)
    return parser


def main(argv: Sequence[str]) -> int:
    options = parser().parse_args(argv)
    from caffe_spn.data.db import open_db
    from caffe_spn.training_log import info, init_log

    init_log()
    mean = mean_image(open_db(options.db, options.backend))
    if options.output:
        info(f"Write to {options.output}", f"{SOURCE}:100")
        write_mean(options.output, mean)
    info(f"Number of channels: {len(mean)}", f"{SOURCE}:105")
    for channel, value in enumerate(mean.mean(axis=(1, 2))):
        info(f"mean_value channel [{channel}]: {value:g}", f"{SOURCE}:110")
    return 0


def mean_image(db) -> np.ndarray:
    """The mean of a database's images, (C, H, W) float64.

    Raises
    ------
    DataError
        If there is none, or one is of another size than the first; the error names its key.
    """
    from caffe_spn.data.db_source import first_record, parse_datum, place
    from caffe_spn.data.ordered_map import ordered_map
    from caffe_spn.data.transformer import datum_image
    from caffe_spn.tools.progress import shown
    from caffe_spn.training_log import info

    if parse_datum(db, *first_record(db)).encoded:
        info("Decoding Datum", f"{SOURCE}:58")

    def image(record):
        key, value = record
        try:
            return key, datum_image(parse_datum(db, key, value))
        except DataError as error:
            raise DataError(error.message, place(db, key), error.help) from error

    info("Starting iteration", f"{SOURCE}:70")
    # Caffe adds up in float32, which is exact for 65,000 images only.
    total, count = None, 0
    images = ordered_map(image, db.records())
    for key, pixels in shown(images, _known_length(db), 10000, f"{SOURCE}:91"):
        if total is None:
            total = np.zeros(pixels.shape)
        if pixels.shape != total.shape:
            raise DataError(
                f"is {pixels.shape} (channels, height, width); the first image is {total.shape}",
                where=place(db, key),
                help="make the database of images of one size; convert_imageset resizes",
            )
        total += pixels
        count += 1
    return total / count


def write_mean(path: str, mean: np.ndarray) -> None:
    """Write a mean image as Caffe's `BlobProto` with four dimensions."""
    from caffe_spn.proto import caffe_pb2
    from caffe_spn.proto.files import atomic_write

    channels, height, width = mean.shape
    blob = caffe_pb2.BlobProto(num=1, channels=channels, height=height, width=width)
    blob.data.extend(mean.astype(np.float32).ravel())
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        file.write(blob.SerializeToString())


def _known_length(db) -> int | None:
    # A LevelDB would have to be read as a whole to be counted.
    from caffe_spn.data.db_lmdb import LmdbReader

    return len(db) if isinstance(db, LmdbReader) else None
