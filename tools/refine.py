"""caffe-spn refine: sharpen coarse segmentations of your images."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from caffe_spn.cuda.device.driver import DeviceLost
from caffe_spn.errors import CaffeSpnError
from caffe_spn.tools import arguments


def parser() -> arguments.Parser:
    parser = arguments.Parser(
        "refine",
        """
        Sharpen coarse segmentations under the guidance of their images, with a trained
        refinement network (inputs 'image' and 'coarse', output 'prob').

        Give pairs IMAGE COARSE [IMAGE COARSE ...], or two folders, whose files are paired by
        name. An image is of any format that Pillow reads. A coarse map is of any resolution:
        class probabilities (classes, height, width) in a .npy, .npz, .h5 or .mat file, or class
        indices in a palette or grey PNG (255: unknown).

        For NAME.jpg these are written to the output folder:
          NAME.png           the refined labels as a palette PNG
          NAME.npz           the refined probabilities, array 'prob' (classes, height, width)
          NAME_compare.png   image, coarse and refined labels, and the truth, side by side

        Images that are too large for the memory are worked through in overlapping tiles and
        blended without seams. --memory bounds what the network takes, by estimate; 4 bytes for
        each pixel and class, three times, come on top for the maps of the whole image.
        """,
        """
        caffe-spn refine --model deploy.prototxt --weights spn.caffemodel face.jpg face.npy
        caffe-spn refine --model deploy.prototxt --weights spn.caffemodel images/ coarse/ \\
            -o refined --truth labels/
        """,
    )
    arguments.add_model(parser)
    parser.add_argument("pairs", nargs="+", metavar="IMAGE COARSE", help="files, or two folders")
    parser.add_argument(
        "-o", "--output", default="refined", metavar="DIR", help="where to write (refined)"
    )
    parser.add_argument(
        "--truth",
        metavar="PATH",
        help="the true labels, a PNG (for one image) or a folder: prints scores before and after",
    )
    parser.add_argument(
        "--mean",
        type=_mean,
        default=(0.0, 0.0, 0.0),
        metavar="B,G,R",
        help="what training subtracted from the pixels: one number, or blue,green,red (0)",
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, help="what training multiplied them by, then (1)"
    )
    parser.add_argument(
        "--restrict-to-coarse",
        action="store_true",
        help="allow only classes that are the most probable ones somewhere in the coarse map,"
        " as the paper does for PASCAL VOC",
    )
    parser.add_argument(
        "--prob",
        choices=("float16", "float32", "none"),
        default="float16",
        help="the type of the probabilities in NAME.npz; none: do not write it (float16)",
    )
    size = parser.add_argument_group("large images")
    size.add_argument(
        "--tile",
        type=arguments.positive,
        metavar="N",
        help="the side of a tile in pixels; by default as large as --memory allows",
    )
    size.add_argument(
        "--overlap",
        type=int,
        default=64,
        metavar="N",
        help="pixels that tiles share (64); more is closer to the whole image's result",
    )
    size.add_argument(
        "--memory", type=_gigabytes, default=2e9, metavar="GB", help="for the network (2)"
    )
    arguments.add_engine(parser)
    return parser


def main(argv: Sequence[str]) -> int:
    options = arguments.parse(parser(), argv)
    from caffe_spn.net import TEST
    from caffe_spn.tools.open_net import open_net
    from caffe_spn.tools.refine_files import find_jobs

    jobs = find_jobs(options.pairs, options.truth, options.output)
    with open_net(options, TEST) as net:
        os.makedirs(options.output, exist_ok=True)
        failed = _refine(net, jobs, options)
    if failed:
        print(f"{failed} of {len(jobs)} images could not be refined", file=sys.stderr)
    return 1 if failed else 0


def _refine(net, jobs, options) -> int:
    """Refine all images and print their scores; returns how many could not be refined."""
    from caffe_spn.tools.refine_job import Scores, run

    scores = Scores()
    failed = 0
    for job in jobs:
        try:
            run(net, job, options, scores)
        except CaffeSpnError as error:
            # One bad file must not cost the work on all others.
            if len(jobs) == 1 or isinstance(error, DeviceLost):
                raise
            failed += 1
            print(error, file=sys.stderr)
    if scores.count > 1:
        print(scores.line("all images"))
    return failed


def _mean(text: str) -> tuple[float, ...]:
    values = [float(word) for word in arguments.words(text)]
    if len(values) not in (1, 3):
        raise argparse.ArgumentTypeError(f"'{text}' is neither one number nor blue,green,red")
    return tuple(values * (3 if len(values) == 1 else 1))


def _gigabytes(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive number")
    return value * 1e9
