"""What `fuse` and `expand` share: read a prototxt, rewrite it, write it."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable

from caffe_spn.errors import CaffeSpnError
from caffe_spn.tools.arguments import Parser


def add_files(parser: Parser) -> None:
    """Add the file to read and the one to write."""
    parser.add_argument("input", metavar="IN", help="the prototxt to read")
    parser.add_argument(
        "output", metavar="OUT", nargs="?", default="-", help="where to write; - is stdout (-)"
    )


def rewrite(options, function: Callable) -> int:
    """Write ``function(net)`` for the net in ``options.input``, and say what changed."""
    from caffe_spn.graph.upgrade import upgrade
    from caffe_spn.proto import caffe_pb2, text

    source = text.read(options.input, caffe_pb2.NetParameter)
    try:
        dropped: list[str] = []
        net, _ = upgrade(source, dropped)
        for line in dropped:
            print(f"warning: {options.input}: dropped: {line}", file=sys.stderr)
        result = function(net)
    except CaffeSpnError as error:
        where = ": ".join(part for part in (options.input, error.where) if part)
        raise type(error)(error.message, where, error.help) from error
    written = text.to_text(result)
    if options.output == "-":
        sys.stdout.write(written)
    else:
        # A reader of OUT finds the old file or the new one, also when OUT is IN.
        temporary = f"{options.output}.{os.getpid()}.tmp"
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(written)
        os.replace(temporary, options.output)
    print(_summary(net, result), file=sys.stderr)
    return 0


def _summary(before, after) -> str:
    counts = [Counter(layer.type for layer in net.layer) for net in (before, after)]
    gone, added = counts[0] - counts[1], counts[1] - counts[0]
    if before == after:
        return "nothing to change"
    return f"{_listed(gone)} -> {_listed(added)}"


def _listed(counts: Counter) -> str:
    return ", ".join(f"{n} {name}" for name, n in sorted(counts.items())) or "nothing"
