"""caffe-spn fuse: replace the published propagation layers by SpatialPropagation."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from caffe_spn.tools import arguments
from caffe_spn.tools.rewrite import add_files, rewrite


def parser() -> arguments.Parser:
    parser = arguments.Parser(
        "fuse",
        """
        Recognise the published form of spatial propagation in a prototxt (Slice, AbsVal, Eltwise,
        Divide, four GateRecurrent2dnoind, once or twice) and replace it by one SpatialPropagation
        layer, which computes the same, many times faster. Trained weights stay valid: these
        layers have none. What looks like such a unit and was left alone is named, with the
        reason. 'caffe-spn expand' is the inverse.
        """,
        "caffe-spn fuse published.prototxt fast.prototxt",
    )
    add_files(parser)
    return parser


def main(argv: Sequence[str]) -> int:
    options = parser().parse_args(argv)
    from caffe_spn.graph.fuse import fuse

    notes: list[str] = []
    code = rewrite(options, lambda net: fuse(net, notes))
    for note in notes:
        print(note, file=sys.stderr)
    return code
