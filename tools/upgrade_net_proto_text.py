"""caffe-spn upgrade_net_proto_text: an old network prototxt in today's form."""

from __future__ import annotations

from collections.abc import Sequence

from caffe_spn.tools import upgrade_files


def parser() -> upgrade_files.Parser:
    return upgrade_files.Parser(
        "upgrade_net_proto_text",
        """
        Write a network prototxt of any generation of Caffe's format in today's: layers with an
        enum type or with one inner message, padding layers, image options of data layers, input
        fields. Every command upgrades what it reads by itself; this is for other programs, and
        for reading.
        """,
        "caffe-spn upgrade_net_proto_text old.prototxt new.prototxt",
    )


def main(argv: Sequence[str]) -> int:
    from caffe_spn.graph.upgrade import upgrade
    from caffe_spn.proto import text

    def upgraded(net, dropped):
        return upgrade(net, dropped)[0]

    return upgrade_files.run(
        parser(), argv, "NetParameter", "text", text.read, upgraded, upgrade_files.write_text
    )
