"""caffe-spn draw_net: a picture of a network, as Caffe's draw_net.py."""

from __future__ import annotations

from collections.abc import Sequence

from caffe_spn.tools import arguments


def parser() -> arguments.Parser:
    parser = arguments.Parser(
        "draw_net",
        """
        Draw the layers and blobs of a network. It needs pydot (pip install 'caffe_spn[draw]') and
        the program Graphviz; a .gv file, the graph for other programs, is written without the
        latter.
        """,
        """
        caffe-spn draw_net train_val.prototxt net.png --phase TRAIN
        caffe-spn draw_net deploy.prototxt net.svg --rankdir TB
        """,
    )
    parser.add_argument("input_net_proto_file", metavar="IN", help="the network's prototxt")
    parser.add_argument(
        "output_image_file",
        metavar="OUT",
        help="the picture; its extension says the format: png, svg, pdf, gv, ...",
    )
    parser.add_argument(
        "--rankdir",
        default="LR",
        choices=("LR", "RL", "TB", "BT"),
        help="the direction of the graph: LR is from left to right (LR)",
    )
    parser.add_argument(
        "--phase",
        type=str.upper,
        default="ALL",
        choices=("TRAIN", "TEST", "ALL"),
        help="draw the layers of one phase (ALL)",
    )
    parser.add_argument(
        "--display_lrm",
        action="store_true",
        help="show the learning-rate multipliers of convolutions and inner products",
    )
    return parser


def main(argv: Sequence[str]) -> int:
    options = parser().parse_args(argv)
    from caffe_spn import draw
    from caffe_spn.net import TEST, TRAIN
    from caffe_spn.proto import caffe_pb2, text

    net = text.read(options.input_net_proto_file, caffe_pb2.NetParameter)
    print(f"Drawing net to {options.output_image_file}")
    draw.draw_net_to_file(
        net,
        options.output_image_file,
        options.rankdir,
        {"TRAIN": TRAIN, "TEST": TEST, "ALL": None}[options.phase],
        options.display_lrm,
    )
    return 0
