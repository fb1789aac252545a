"""caffe-spn upgrade_net_proto_binary: old weights, or an old binary network, in today's form."""

from __future__ import annotations

from collections.abc import Sequence

from caffe_spn.tools import upgrade_files


def parser() -> upgrade_files.Parser:
    return upgrade_files.Parser(
        "upgrade_net_proto_binary",
        """
        Write a .caffemodel, or another binary network, of any generation of Caffe's format in
        today's; the weights stay as they are. Every command upgrades what it reads by itself;
        this is for other programs, such as OpenCV.
        """,
        "caffe-spn upgrade_net_proto_binary old.caffemodel new.caffemodel",
    )


def main(argv: Sequence[str]) -> int:
    from caffe_spn.graph.upgrade import upgrade
    from caffe_spn.proto import binary

    def upgraded(net, dropped):
        return upgrade(net, dropped)[0]

    return upgrade_files.run(
        parser(), argv, "NetParameter", "binary", binary.read, upgraded, binary.write
    )
