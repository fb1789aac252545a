"""caffe-spn extract_features: blobs of a net into databases, as Caffe's extract_features."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from caffe_spn.errors import CaffeSpnError, DataError, nearest
from caffe_spn.tools import arguments
from caffe_spn.tools.progress import progress
from caffe_spn.training_log import info


def parser() -> arguments.Parser:
    parser = arguments.Parser(
        "extract_features",
        """
        Run a network in the TEST phase on the data of its own data layer, and write what named
        blobs hold into databases, one for each blob. A record is a Datum of floats (channels,
        height, width) for one image; its key is the image's number with ten digits.

        db_type hdf5 writes a file for each blob instead, which an HDF5Data layer can read: its
        dataset has the name of the blob.
        """,
        """
        caffe-spn extract_features vgg16.caffemodel net.prototxt fc6,fc7 fc6_lmdb,fc7_lmdb 10 lmdb
        caffe-spn extract_features vgg16.caffemodel net.prototxt fc7 fc7.h5 10 hdf5
        """,
    )
    add = parser.add_argument
    add("weights", metavar="pretrained_net_param", type=arguments.words, help="its weights")
    add("model", metavar="feature_extraction_proto_file", help="the network, with a data layer")
    add("blobs", metavar="blob_name[,...]", type=arguments.words, help="the blobs")
    add("targets", metavar="save_name[,...]", type=arguments.words, help="a database for each")
    add("num_mini_batches", type=arguments.positive, help="how many batches to run")
    add("db_type", type=str.lower, choices=("lmdb", "leveldb", "hdf5"), help="what to write")
    add("device", nargs="?", type=str.upper, choices=("CPU", "GPU"), default="CPU", help="(CPU)")
    add("device_id", metavar="DEVICE_ID=N", nargs="?", help="which GPU (0)")
    arguments.add_state(parser, phase=False)
    arguments.add_python_switch(parser)
    return parser


def main(argv: Sequence[str]) -> int:
    options = parser().parse_args(argv)
    if len(options.blobs) != len(options.targets):
        raise CaffeSpnError(
            f"{len(options.blobs)} blobs are to go to {len(options.targets)} databases",
            help="name a database for each blob, comma-separated and without blanks",
        )
    arguments.choose_device([_number(options.device_id)] if options.device == "GPU" else None)
    from caffe_spn.net import TEST
    from caffe_spn.tools.open_net import open_net
    from caffe_spn.training_log import init_log

    init_log()
    with open_net(options, TEST) as net:
        _check_blobs(net, options.blobs, options.model)
        _extract(net, options)
    info("Successfully extracted the features!", "extract_features.cpp:184")
    return 0


def _number(text: str | None) -> int:
    """N of 'DEVICE_ID=N', as Caffe's example scripts write it, or of 'N'."""
    number = (text or "0").upper().removeprefix("DEVICE_ID=")
    if not number.isdigit():
        raise CaffeSpnError(f"'{text}' is no number of a GPU", help="write e.g. DEVICE_ID=0")
    return int(number)


def _check_blobs(net, names: Sequence[str], model: str) -> None:
    for name in names:
        if name not in net.blobs:
            near = nearest(name, net.blobs)
            raise CaffeSpnError(
                f"Unknown feature blob name {name}",
                where=model,
                help=f"did you mean '{near}'?" if near else f"it has {', '.join(net.blobs)}",
            )
        if not net.blobs[name].shape:
            raise CaffeSpnError(f"blob {name} is one number, not one for each image", where=model)


def _extract(net, options) -> None:
    info("Extracting Features", "extract_features.cpp:131")
    opened = _hdf5 if options.db_type == "hdf5" else _database
    counts = [0] * len(options.blobs)
    with contextlib.ExitStack() as stack:
        writers = [
            stack.enter_context(opened(target, blob, options.db_type))
            for blob, target in zip(options.blobs, options.targets, strict=True)
        ]
        for _ in progress(range(options.num_mini_batches), "batch"):
            net.forward_loss()
            for i, (blob, write) in enumerate(zip(options.blobs, writers, strict=True)):
                batch = net.blobs[blob].data
                write(batch, counts[i])
                counts[i] += len(batch)
    for blob, count in zip(options.blobs, counts, strict=True):
        info(
            f"Extracted features of {count} query images for feature blob {blob}",
            "extract_features.cpp:178",
        )


@contextlib.contextmanager
def _database(target: str, blob: str, kind: str) -> Iterator[Callable]:
    """A function that puts a batch into an LMDB or a LevelDB, as Datums from a number on."""
    from caffe_spn.data.db import DatabaseWriter
    from caffe_spn.io import array_to_datum

    with DatabaseWriter(target, kind) as database:

        def write(batch: np.ndarray, first: int) -> None:
            if batch.ndim > 4:
                raise DataError(
                    f"blob {blob} is {batch.shape}; a Datum holds channels, height and width",
                    help="db_type hdf5 writes blobs of any number of axes",
                )
            # As Caffe counts them, axes that a blob lacks have the length 1.
            images = batch.reshape(batch.shape + (1,) * (4 - batch.ndim))
            for number, image in enumerate(images, first):
                database.put(b"%010d" % number, array_to_datum(image).SerializeToString())

        yield write


@contextlib.contextmanager
def _hdf5(target: str, blob: str, kind: str) -> Iterator[Callable]:
    """A function that puts a batch behind the others of a dataset."""
    import h5py

    from caffe_spn.proto.files import atomic_write

    if os.path.lexists(target):
        raise DataError("exists already", where=target, help="remove it, or give another name")
    with atomic_write(target) as temporary, h5py.File(temporary, "w") as file:

        def write(batch: np.ndarray, first: int) -> None:
            if not first:
                rest = batch.shape[1:]
                file.create_dataset(blob, (0, *rest), np.float32, maxshape=(None, *rest))
            file[blob].resize(first + len(batch), axis=0)
            file[blob][first:] = batch

        yield write
