"""caffe-spn new: write the prototxt files of a network for a task of the user's own."""

from __future__ import annotations

import os
from collections.abc import Sequence

from caffe_spn.prototxt.generate import CONNECTIONS, DESIGNS, NORMALIZATIONS, generate
from caffe_spn.tools.arguments import Parser, positive

DESCRIPTION = """
Write train, test, deploy and solver prototxt of a network for your own segmentation set.

The set is laid out as PASCAL VOC's: JPEGImages/NAME.jpg, SegmentationClass/NAME.png (the pixel
value is the class, 255 is ignored) and ImageSets/Segmentation/train.txt and val.txt, one NAME a
line. What is not given stays as the design has it; edit the files as you like afterwards.

designs:
  demo            small refinement network: minutes on a CPU
  helen           the published refinement network for faces
  voc             the published one for PASCAL VOC; start it from VGG-16 weights
  parser          makes coarse maps: an hourglass network that labels small images
  parser-highres  the same for images of 1024x1024
"""

EXAMPLE = """
caffe-spn new nuclei --source data/dsb2018 --classes 2
caffe-spn train --solver nuclei/solver.prototxt
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Write the files and say what to do with them.

    Parameters
    ----------
    argv : sequence of str, optional
        The words after ``caffe-spn new``.
    """
    options = vars(_parser().parse_args(argv))
    folder, overwrite = options.pop("folder"), options.pop("force")
    paths = generate(folder, overwrite=overwrite, **options)
    for path in paths:
        print(f"wrote {os.path.relpath(path)}")
    weights = " --weights VGG_ILSVRC_16_layers.caffemodel" if options["design"] == "voc" else ""
    print(f"next:  caffe-spn train --solver {os.path.relpath(paths[-1])}{weights}")
    return 0


def _parser() -> Parser:
    parser = Parser("new", DESCRIPTION, EXAMPLE)
    parser.add_argument("folder", help="where to; its name becomes the network's")
    parser.add_argument("--force", action="store_true", help="overwrite files that are there")
    parser.add_argument(
        "--network", dest="design", choices=DESIGNS, default="demo", help="the design (demo)"
    )

    data = parser.add_argument_group("data")
    data.add_argument("--source", required=True, metavar="FOLDER", help="the segmentation set")
    data.add_argument("--classes", type=positive, metavar="K", help="if meta.json does not say")
    data.add_argument(
        "--coarse",
        metavar="FOLDER",
        help="coarse maps of your images (.npy, .npz, .h5 or .mat); else made from the labels",
    )
    data.add_argument("--train-split", metavar="NAME", help="list of training images (train)")
    data.add_argument("--val-split", metavar="NAME", help="list of validation images (val)")
    data.add_argument(
        "--long-side", type=int, metavar="PIXELS", help="resize images to this; 0 keeps them"
    )
    data.add_argument("--patch-size", type=positive, metavar="PIXELS")
    data.add_argument("--patches-per-image", type=positive, metavar="COUNT")

    network = parser.add_argument_group("network")
    network.add_argument("--connection", choices=CONNECTIONS, help="neighbours of each pixel")
    network.add_argument("--normalization", choices=NORMALIZATIONS, help="of the gates")
    network.add_argument("--units", type=positive, metavar="COUNT", help="propagations in a row")
    network.add_argument("--channels", type=positive, metavar="COUNT", help="maps propagated")

    solver = parser.add_argument_group("solver")
    solver.add_argument("--iterations", type=positive, metavar="COUNT")
    solver.add_argument("--batch", type=positive, metavar="COUNT", help="patches an update")
    solver.add_argument("--test-batch", type=positive, metavar="COUNT")
    solver.add_argument("--base-lr", type=float, metavar="RATE")
    return parser
