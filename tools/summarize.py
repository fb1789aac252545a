"""caffe-spn summarize: a network as a table, one layer a line, as Caffe's summarize.py."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

import numpy as np

from caffe_spn.draw import extent_text, window_extents
from caffe_spn.tools import arguments

# ANSI codes that tell blobs apart, used in turn.
_COLORS = ("92", "93", "94", "95", "97", "96", "42", "43;30", "100", "44", "103;30", "107;30")
_UNKNOWN = "41"
_CODES = re.compile(r"\033\[[\d;]*m")


def parser() -> arguments.Parser:
    parser = arguments.Parser(
        "summarize",
        """
        Print the layers of a network as a table, without building it:

          name  type  (param)  bottoms -> tops  settings

        (param) has for each parameter its name, xLR_MULT and DxDECAY_MULT where they are not 1.
        Settings of convolutions and pooling are kernel/stride+pad, then outputs/groups. On a
        terminal blobs have colours: a bottom that no layer makes is on red, a top that no layer
        reads is underlined.
        """,
        "caffe-spn summarize train_val.prototxt",
    )
    parser.add_argument("filename", metavar="FILE", help="the network's prototxt")
    parser.add_argument(
        "-w",
        "--max-width",
        type=arguments.positive,
        default=30,
        metavar="N",
        help="the largest width of a column (30)",
    )
    parser.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        help="colours; auto: on a terminal (auto)",
    )
    return parser


def main(argv: Sequence[str]) -> int:
    options = parser().parse_args(argv)
    from caffe_spn.proto import caffe_pb2, text

    net = text.read(options.filename, caffe_pb2.NetParameter)
    if net.layers and not net.layer:
        from caffe_spn.graph.upgrade import upgrade

        net, _ = upgrade(net)
    table = aligned(rows(net), options.max_width)
    if options.color == "never" or (options.color == "auto" and not sys.stdout.isatty()):
        table = _CODES.sub("", table)
    print(table)
    return 0


def rows(net) -> list[list[str]]:
    """A row of cells for each layer of a NetParameter."""
    unread: set[str] = set()
    for layer in net.layer:
        unread = unread.union(layer.top).difference(layer.bottom)
    colors = {name: _COLORS[i % len(_COLORS)] for i, name in enumerate(_tops(net))}
    table, made = [], set(net.input)
    for layer in net.layer:
        bottoms = [_painted(b, colors.get(b, "0") if b in made else _UNKNOWN) for b in layer.bottom]
        made.update(layer.top)
        tops = [_top(layer, i, colors[t], t in unread) for i, t in enumerate(layer.top)]
        kind = layer.type
        if kind == "Python":
            kind = f"{layer.python_param.module}.{layer.python_param.layer}"
        cells = [layer.name, kind, _params(layer), ", ".join(bottoms), "->", ", ".join(tops)]
        table.append([*cells, _settings(layer)])
    return table


def _tops(net) -> dict[str, None]:
    return dict.fromkeys(top for layer in net.layer for top in layer.top)


def _top(layer, index: int, color: str, is_unread: bool) -> str:
    name = layer.top[index]
    # As in Caffe the codes for bold and underlined stand inside those for the colour.
    text = f"\033[1;4m{name}" if is_unread else name
    if index < len(layer.loss_weight):
        text = f"{_float(layer.loss_weight[index])} * {text}"
    return _painted(text, color)


def _painted(text: str, color: str) -> str:
    return f"\033[{color}m{text}\033[0m"


def _params(layer) -> str:
    texts = [_param(param) for param in layer.param]
    return f"({', '.join(texts)})" if any(texts) else ""


def _param(param) -> str:
    words = [param.name] if param.name else []
    if param.lr_mult != 1:
        words.append(f"x{_float(param.lr_mult)}")
    if param.decay_mult != 1:
        words.append(f"Dx{_float(param.decay_mult)}")
    return " ".join(words)


def _float(value: float) -> str:
    """0.1, not 0.10000000149: fields of messages are float32."""
    return str(np.float32(value))


def _settings(layer) -> str:
    """kernel/stride+pad outputs/groups, without what has its usual value."""
    if layer.type == "Pooling":
        return "global" if layer.pooling_param.global_pooling else _window(layer.pooling_param)
    if layer.type in ("Convolution", "Deconvolution"):
        param = layer.convolution_param
        groups = f"/{param.group}" if param.group != 1 else ""
        return f"{_window(param)} {param.num_output}{groups}"
    return ""


def _window(param) -> str:
    text = ""
    for name, sign, usual in (("kernel", "", 0), ("stride", "/", 1), ("pad", "+", 0)):
        values = window_extents(param, name)
        if any(value != usual for value in values):
            text += sign + extent_text(values)
    return text


def aligned(table: Sequence[Sequence[str]], max_width: int) -> str:
    """Lay out a table in columns as narrow as possible, and no wider than `max_width`.

    A longer cell runs into the next columns, which then start later only as far as they must.
    """
    widths = (
        [min(max_width, max(_visible(row[i]) for row in table) + 1) for i in range(len(table[0]))]
        if table
        else []
    )
    lines = []
    for row in table:
        line, end = "", 0
        for cell, width in zip(row, widths, strict=True):
            end += width
            line += f"{cell} "
            line += " " * (end - _visible(line))
        lines.append(line.rstrip())
    return "\n".join(lines)


def _visible(text: str) -> int:
    return len(_CODES.sub("", text))
