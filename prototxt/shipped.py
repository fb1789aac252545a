"""The networks that are shipped as text; ``python -m caffe_spn.prototxt.shipped`` rewrites them."""

from __future__ import annotations

from pathlib import Path

from caffe_spn.prototxt import parser, small, spn, vgg
from caffe_spn.prototxt.files import write

FOLDER = Path(__file__).parent

SHIPPED = {
    network.name: network
    for network in (
        small.DEMO,
        small.DEMO_ONEWAY,
        parser.HELEN_PARSER,
        spn.HELEN_SPN,
        spn.HELEN_SPN_ONEWAY,
        vgg.VOC_SPN,
    )
}


def main() -> None:
    """Write the files of every shipped network beside this module."""
    for name, network in SHIPPED.items():
        for path in write(network, FOLDER / name):
            print(path)


if __name__ == "__main__":
    main()
