"""Read and write prototxt: networks and solvers as text.

What Caffe (C++ protobuf) refuses is refused, what it takes is taken. An error says where it is::

    net.prototxt:3:78
      ReLUParameter has no field 'negative_slop'
        relu_param { negative_slop: 0.1 }
                     ^
      help: did you mean 'negative_slope'?

>>> from caffe_spn.proto import caffe_pb2, text
>>> net = text.parse('layer { name: "relu" type: "ReLU" }', caffe_pb2.NetParameter())
>>> text.to_text(net.layer[0])
'name: "relu"\\ntype: "ReLU"\\n'
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from typing import TypeVar

from google.protobuf import text_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from caffe_spn.errors import PrototxtError
from caffe_spn.proto import caffe_pb2
from caffe_spn.proto.files import read_bytes
from caffe_spn.proto.hints import explain
from caffe_spn.proto.lexer import LexicalError, Token, line_and_column, tokens
from caffe_spn.proto.printer import to_text

__all__ = ["locate_layer", "parse", "read", "to_text"]

AnyMessage = TypeVar("AnyMessage", bound=Message)

_SHOWN_WIDTH = 100


@functools.lru_cache(maxsize=2)
def _spelled_otherwise(schema) -> tuple[frozenset[str], frozenset[str]]:
    """The names of bool fields, and those of fields that are unsigned wherever they occur."""
    fields = [
        field for message in schema.message_types_by_name.values() for field in message.fields
    ]

    def of_type(*types: int) -> frozenset[str]:
        return frozenset(field.name for field in fields if field.type in types)

    signed = of_type(FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_FLOAT)
    return of_type(FieldDescriptor.TYPE_BOOL), of_type(FieldDescriptor.TYPE_UINT32) - signed


def parse(text: str, message: AnyMessage, name: str = "<string>") -> AnyMessage:
    """Fill a message from text.

    Parameters
    ----------
    text : str
        The definition.
    message : Message
        An empty message of the type that the text describes; it is filled and returned.
    name : str
        What error messages call the text, usually its file.

    Raises
    ------
    PrototxtError
        With the place, the line, a caret, and the nearest known name.
    """
    try:
        found = list(tokens(text))
    except LexicalError as error:
        raise _error(error.message, text, error.offset, name, error.help) from None
    lines, starts = _one_token_a_line(found)
    try:
        text_format.ParseLines(lines, message)
    except text_format.ParseError as error:
        line = error.GetLine()
        place = starts[min(line, len(starts)) - 1] if line and starts else None
        finding, help = explain(_finding(error), message.DESCRIPTOR)
        unclosed = _first_unclosed(found)
        if unclosed is not None:
            opened = line_and_column(text, unclosed)[0]
            help = f"the block opened in line {opened} is not closed: look for a missing brace"
        raise _error(finding, text, place, name, help) from None
    missing = message.FindInitializationErrors()
    if missing:
        raise PrototxtError(f"required fields are missing: {', '.join(missing)}", where=name)
    return message


def read(path: str | os.PathLike, message_class: type[AnyMessage]) -> AnyMessage:
    """Read a message from a prototxt file.

    Parameters
    ----------
    path : str or path
        The file.
    message_class : type
        For instance `caffe_pb2.NetParameter`.

    Raises
    ------
    PrototxtError
        If the file cannot be read, or its text is wrong.
    """
    name = os.fspath(path)
    data = read_bytes(path, PrototxtError)
    try:
        return parse(data.decode("utf-8", "surrogateescape"), message_class(), name)
    except PrototxtError as error:
        if b"\0" in data or data[:4] == b"\x89HDF":
            error.help = "this looks like a binary file (weights, a snapshot), not like prototxt"
        raise


def locate_layer(text: str, layer_param: Message) -> int | None:
    """The line where a layer's block starts, to show in an error.

    Parameters
    ----------
    text : str
        The definition of the whole net, known to be well formed.
    layer_param : LayerParameter or V1LayerParameter
        The layer; found by name, then among several of that name by type and tops.

    Returns
    -------
    int or None
        Line from 1 of ``layer {`` or ``layers {``; None when there is no such layer.
    """
    try:
        found = list(tokens(text))
    except LexicalError:
        return None
    best, best_score = None, 0
    wanted = {("name", layer_param.name), ("type", str(layer_param.type))}
    wanted.update(("top", top) for top in layer_param.top)
    for start, fields in _layer_blocks(found):
        score = len(wanted & fields)
        if ("name", layer_param.name) in fields and score > best_score:
            best, best_score = start, score
    return None if best is None else line_and_column(text, best)[0]


def _one_token_a_line(found: list[Token]) -> tuple[list[str], list[int]]:
    """Lines for `text_format`, so that the line of its error is the number of a token."""
    lines, starts, field, after_minus = [], [], "", False
    bools, unsigned = _spelled_otherwise(caffe_pb2.DESCRIPTOR)
    for index, token in enumerate(found):
        spelling = token.normal
        if token.kind == "identifier" and index + 1 < len(found) and found[index + 1].text == ":":
            field = token.text
        elif token.kind == "integer" and field in bools and int(spelling, 0) < 2:
            # text_format takes 0 and 1 for a bool, but not 0x1 or 01.
            spelling = str(int(spelling, 0))
        minus_zero = field in unsigned and spelling.strip("0x") == ""
        if after_minus and token.kind in ("integer", "float", "identifier") and not minus_zero:
            # The sign may stand apart from its number; for text_format it may not.
            lines[-1] = "-" + spelling
        else:
            lines.append(spelling)
            starts.append(token.offset)
        after_minus = token.text == "-"
    return lines, starts


def _layer_blocks(found: list[Token]) -> Iterator[tuple[int, set]]:
    """Yield (offset, {(field, value)}) of each top-level layer block."""
    blocks, field, start, fields = [], "", None, set()
    for token, following in zip(found, found[1:] + [None], strict=True):
        if token.text in ("{", "<"):
            blocks.append(field)
            start = token.offset if start is None else start
        elif token.text in ("}", ">"):
            # The next block of a list has no field name of its own.
            field = blocks.pop() if blocks else ""
            if not blocks:
                yield start, fields
                start, fields = None, set()
        elif token.kind == "identifier" and following and following.text in (":", "{", "<", "["):
            field = token.text
            start = token.offset if not blocks else start
        elif field in ("name", "type", "top") and blocks in _LAYER_BLOCKS:
            fields.add((field, token.normal.strip('"')))


# The last is the first generation's, a layer inside a layer.
_LAYER_BLOCKS = (["layer"], ["layers"], ["layers", "layer"])


def _first_unclosed(found: list[Token]) -> int | None:
    """Offset of the first brace that is never closed."""
    opened = []
    for token in found:
        if token.text in ("{", "<"):
            opened.append(token.offset)
        elif token.text in ("}", ">") and opened:
            opened.pop()
    return opened[0] if opened else None


def _finding(error: text_format.ParseError) -> str:
    """The error's message without its position, which counts tokens."""
    message = str(error)
    if error.GetLine() is not None:
        message = message.split(" : ", 1)[-1]
    return message


def _error(
    message: str, text: str, offset: int | None, name: str, help: str | None
) -> PrototxtError:
    if offset is None:
        return PrototxtError(message, name, help)
    line, column = line_and_column(text, offset)
    shown = text.split("\n")[line - 1].replace("\r", "")
    # A definition on one line is shown around the place only.
    cut = max(0, column - 1 - _SHOWN_WIDTH // 2) if len(shown) > _SHOWN_WIDTH else 0
    shown = shown[cut : cut + _SHOWN_WIDTH]
    margin = "".join(c if c == "\t" else " " for c in shown[: column - 1 - cut])
    visible = "".join(c if c.isprintable() or c == "\t" else "?" for c in shown)
    return PrototxtError(f"{message}\n  {visible}\n  {margin}^", f"{name}:{line}:{column}", help)
