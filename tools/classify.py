"""caffe-spn classify: a net's predictions for images, as Caffe's classify.py."""

from __future__ import annotations

import argparse
import glob
import math
import os
import time
from collections.abc import Sequence

import numpy as np

from caffe_spn.errors import DataError
from caffe_spn.tools import arguments
from caffe_spn.tools.image_options import (
    add_image_options,
    check_folder,
    image_settings,
    read_array,
)
from caffe_spn.tools.progress import progress


def parser() -> arguments.Parser:
    parser = arguments.Parser(
        "classify",
        """
        Classify images with a trained network, and save its predictions: one row for each image,
        in the order of their names. A prediction is the mean over ten crops of the size of the
        network's input: corners, centre, and their mirror images.
        """,
        """
        caffe-spn classify --model_def deploy.prototxt --pretrained_model net.caffemodel \\
            --mean_file mean.npy cat.jpg predictions.npy
        caffe-spn classify --model_def deploy.prototxt --pretrained_model net.caffemodel \\
            --center_only --ext png photos/ predictions.npy
        """,
    )
    parser.add_argument(
        "input_file",
        metavar="IN",
        help="an image, a folder of images, or a .npy file (images, height, width, channels)",
    )
    parser.add_argument("output_file", metavar="OUT", help="the .npy file to write")
    add_image_options(parser)
    parser.add_argument(
        "--center_only", action="store_true", help="take the centre of each image alone"
    )
    parser.add_argument(
        "--images_dim",
        type=_size,
        default=(256, 256),
        metavar="H,W",
        help="what images are resized to, before crops are taken (256,256)",
    )
    parser.add_argument(
        "--ext", default="jpg", help="the extension of the images in a folder (jpg)"
    )
    return parser


def main(argv: Sequence[str]) -> int:
    options = arguments.parse(parser(), argv)
    check_folder(options.output_file)
    print("GPU mode" if options.gpu else "CPU mode")
    from caffe_spn.classifier import Classifier

    images = find_images(options.input_file, options.ext)
    classifier = Classifier(
        options.model_def,
        options.pretrained_model,
        image_dims=options.images_dim,
        **image_settings(options),
    )
    print(f"Classifying {len(images)} inputs.")
    started = time.perf_counter()
    predictions = predict(classifier, images, not options.center_only)
    print(f"Done in {time.perf_counter() - started:.2f} s.")
    print(f"Saving results into {options.output_file}")
    np.save(options.output_file, predictions)
    return 0


def _size(text: str) -> tuple[int, int]:
    values = [arguments.positive(word) for word in arguments.words(text)]
    if len(values) != 2:
        raise argparse.ArgumentTypeError(f"'{text}' is not height,width")
    return values[0], values[1]


def find_images(path: str, extension: str) -> Sequence:
    """The paths of images, or an array of images."""
    path = os.path.expanduser(path)
    if path.endswith("npy"):
        print(f"Loading file: {path}")
        images = read_array(path)
        if images.ndim != 4:
            raise DataError(
                f"has the shape {images.shape}; (images, height, width, channels) is wanted",
                where=path,
            )
    elif os.path.isdir(path):
        print(f"Loading folder: {path}")
        images = sorted(glob.glob(os.path.join(glob.escape(path), f"*.{extension}")))
    else:
        print(f"Loading file: {path}")
        images = [path]
    if not len(images):
        raise DataError(f"there is no *.{extension}", where=path, help="--ext names another kind")
    return images


def predict(classifier, images: Sequence, oversample: bool) -> np.ndarray:
    """The predictions for images, which are read a few at a time."""
    from caffe_spn.image_input import load_image

    batch_size, channels = classifier.blobs[classifier.inputs[0]].shape[:2]
    crops = 10 if oversample else 1
    # So many images fill whole batches.
    at_once = math.lcm(batch_size, crops) // crops
    predictions = []
    for begin in progress(range(0, len(images), at_once), "batch"):
        loaded = [
            load_image(image, color=channels != 1) if isinstance(image, str) else image
            for image in images[begin : begin + at_once]
        ]
        predictions.append(classifier.predict(loaded, oversample))
    return np.concatenate(predictions)
