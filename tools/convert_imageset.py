"""caffe-spn convert_imageset: a list of images as an LMDB or a LevelDB."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from caffe_spn.errors import DataError
from caffe_spn.tools import arguments

SOURCE = "convert_imageset.cpp"


def parser() -> arguments.Parser:
    parser = arguments.Parser(
        "convert_imageset",
        """
        Write the images of a list into a database for the Data layer, as Caffe's
        convert_imageset does, under the keys 00000000_PATH, 00000001_PATH, ... in the order of
        the list.

        An image that cannot be read is named and left out. The database appears under its name
        when it is whole: until then it is DB_NAME.partial.
        """,
        """
        caffe-spn convert_imageset --resize_height 256 --resize_width 256 --shuffle
            images/ train.txt train_lmdb
        """,
    )
    parser.add_argument(
        "root", metavar="ROOTFOLDER/", help="put before each path as it is; ends with a slash"
    )
    parser.add_argument("list", metavar="LISTFILE", help="lines of 'path label'")
    parser.add_argument("db", metavar="DB_NAME", help="the database to write")
    arguments.add_flag(parser, "--gray", "one grey channel instead of blue, green, red")
    arguments.add_flag(parser, "--shuffle", "put images and labels into a random order")
    arguments.add_backend(parser)
    for side in ("width", "height"):
        parser.add_argument(
            f"--resize_{side}", type=int, default=0, metavar="N", help=f"{side} to resize to"
        )
    arguments.add_flag(parser, "--check_size", "stop at an image of another size than the first")
    arguments.add_flag(
        parser, "--encoded", "keep image files, which are smaller, instead of pixels"
    )
    parser.add_argument(
        "--encode_type",
        default="",
        metavar="TYPE",
        help="kind of image file to keep, such as png or jpg; that of each file's name",
    )
    return parser


def main(argv: Sequence[str]) -> int:
    command = parser()
    options = command.parse_args(argv)
    if (options.resize_width > 0) != (options.resize_height > 0):
        command.error("give both --resize_width and --resize_height, or none")
    from caffe_spn.data.db import DatabaseWriter
    from caffe_spn.tools.progress import shown
    from caffe_spn.training_log import info, init_log

    init_log()
    entries = _entries(options)
    if options.encode_type and not options.encoded:
        info("encode_type specified, assuming encoded=true.", f"{SOURCE}:91")
    written = 0
    with DatabaseWriter(options.db, options.backend) as db:
        records = shown(_records(entries, options), len(entries), 1000, f"{SOURCE}:142")
        for key, value in records:
            if value is not None:
                db.put(key, value)
                written += 1
        if not written:
            raise DataError("none of its images could be read", where=options.list)
    if written < len(entries):
        info(
            f"{len(entries) - written} images could not be read and are left out.", f"{SOURCE}:148"
        )
    return 0


def _entries(options) -> list:
    from caffe_spn import random
    from caffe_spn.data.image_list import read_list
    from caffe_spn.training_log import info

    entries = read_list(options.list)
    if options.shuffle:
        info("Shuffling data", f"{SOURCE}:85")
        entries = [entries[n] for n in random.generator().permutation(len(entries))]
    info(f"A total of {len(entries)} images.", f"{SOURCE}:88")
    return entries


def _records(entries, options) -> Iterator[tuple[bytes, bytes | None]]:
    """Key and value of each image in turn; None in place of one that cannot be read."""
    from caffe_spn.data.db_images import ImageOptions, image_to_datum
    from caffe_spn.data.ordered_map import ordered_map
    from caffe_spn.training_log import logger

    image_options = ImageOptions(
        color=not options.gray,
        size=(options.resize_height, options.resize_width) if options.resize_width > 0 else None,
        encoded=options.encoded or bool(options.encode_type),
        encode_type=options.encode_type,
    )

    def convert(entry):
        try:
            return image_to_datum(options.root + entry.path, entry.label, image_options)
        except DataError as error:
            return error

    first_shape = None
    for number, result in enumerate(ordered_map(convert, entries)):
        entry = entries[number]
        key = f"{number:08d}_{entry.path}".encode(errors="surrogateescape")
        if isinstance(result, DataError):
            logger.error(
                f"Could not open or find file {options.root + entry.path}: {result.message}",
                extra={"source": "io.cpp:80"},
            )
            yield key, None
            continue
        datum, shape = result
        first_shape = first_shape or shape
        if options.check_size and shape != first_shape:
            raise DataError(
                f"is {shape} (channels, height, width); the first image is {first_shape}",
                where=f"{options.list}:{entry.line}: {options.root + entry.path}",
                help="--resize_width and --resize_height make all of one size",
            )
        yield key, datum.SerializeToString()
