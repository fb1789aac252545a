"""caffe-spn expand: write SpatialPropagation as the layers of the original Caffe fork."""

from __future__ import annotations

from collections.abc import Sequence

from caffe_spn.tools import arguments
from caffe_spn.tools.rewrite import add_files, rewrite


def parser() -> arguments.Parser:
    parser = arguments.Parser(
        "expand",
        """
        Replace each SpatialPropagation layer of a prototxt by the layers of the original SPN fork
        of Caffe (GateRecurrent2dnoind, Divide and Caffe's own), for deployments that know only
        those. Trained weights stay valid: these layers have none. The inverse of
        'caffe-spn fuse'.
        """,
        "caffe-spn expand deploy.prototxt for_the_fork.prototxt",
    )
    add_files(parser)
    return parser


def main(argv: Sequence[str]) -> int:
    options = parser().parse_args(argv)
    from caffe_spn.graph.expand import expand

    return rewrite(options, expand)
