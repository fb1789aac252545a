"""What classify and detect share: the options that say how images become inputs of a net."""

from __future__ import annotations

import argparse
import os

import numpy as np

from caffe_spn.errors import DataError
from caffe_spn.tools import arguments


def add_image_options(parser: arguments.Parser) -> None:
    """Add the model, its weights, and how pixels are prepared."""
    parser.add_argument("--model_def", required=True, metavar="FILE", help="the deploy prototxt")
    parser.add_argument(
        "--pretrained_model", required=True, metavar="FILE", help="the trained weights"
    )
    group = parser.add_argument_group("preparing the pixels, which are read as RGB from 0 to 1")
    group.add_argument(
        "--channel_swap",
        type=_order,
        default=(2, 1, 0),
        metavar="2,1,0",
        help="first, the order of channels; '' for none (2,1,0: blue, green, red)",
    )
    group.add_argument(
        "--raw_scale", type=float, default=255.0, metavar="X", help="then, a factor (255)"
    )
    group.add_argument(
        "--mean_file",
        default="",
        metavar="FILE",
        help="then, what to subtract: a .npy or .binaryproto file (none)",
    )
    group.add_argument("--input_scale", type=float, metavar="X", help="last, a factor (none)")
    arguments.add_python_switch(parser)
    arguments.add_gpu(parser, takes_id=False)


def _order(text: str) -> tuple[int, ...] | None:
    try:
        return tuple(int(word) for word in arguments.words(text)) or None
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a list of channels") from None


def image_settings(options: argparse.Namespace) -> dict:
    """The options as arguments of `Classifier` and `Detector`."""
    return {
        "mean": read_mean(options.mean_file) if options.mean_file else None,
        "input_scale": options.input_scale,
        "raw_scale": options.raw_scale,
        "channel_swap": options.channel_swap,
        "allow_python": not options.no_python_layers,
    }


def read_mean(path: str) -> np.ndarray:
    """Read a mean (C), (C, H, W) or (1, C, H, W) as NumPy or `compute_image_mean` writes it.

    Raises
    ------
    DataError, WeightsError
        If the file is missing, or is neither.
    """
    if path.endswith(".binaryproto"):
        from caffe_spn.proto import binary, caffe_pb2
        from caffe_spn.proto.blobs import blob_proto_to_array

        mean = np.asarray(blob_proto_to_array(binary.read(path, caffe_pb2.BlobProto)))
        return mean[0] if mean.ndim == 4 and len(mean) == 1 else mean
    return read_array(path)


def check_folder(output: str) -> None:
    """Notice before the work that its result has no place to go.

    Raises
    ------
    DataError
    """
    folder = os.path.dirname(output) or "."
    if not os.path.isdir(folder):
        raise DataError(f"the folder {folder} is not there", where=output)


def read_array(path: str) -> np.ndarray:
    """Read a .npy file.

    Raises
    ------
    DataError
        If it is missing or no such file.
    """
    try:
        array = np.load(path)
    except FileNotFoundError:
        raise DataError("there is no such file", where=path) from None
    except (ValueError, EOFError) as error:
        raise DataError(f"is no array of NumPy: {error}", where=path) from error
    if not isinstance(array, np.ndarray):
        raise DataError("holds several arrays; one (.npy) is wanted", where=os.fspath(path))
    return array
