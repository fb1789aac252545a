"""Print a message as text, character by character as Caffe (C++ protobuf) prints it.

Python's `text_format` prints ``1.0`` and ``0.10000000149`` where Caffe prints ``1`` and ``0.1``.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator

from google.protobuf import text_encoding
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message


def to_text(message: Message) -> str:
    """The text of a message; reading it back gives an equal message."""
    return "".join(_lines(message, ""))


def format_float(value: float, single: bool = True) -> str:
    """The shortest of Caffe's two spellings that reads back as the same number."""
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    short = f"{value:.6g}" if single else f"{value:.15g}"
    same = _as_single(float(short)) == value if single else float(short) == value
    if same:
        return short
    return f"{value:.9g}" if single else f"{value:.17g}"


def _as_single(value: float) -> float:
    try:
        return struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        # FLT_MAX in six digits is above FLT_MAX.
        return math.inf


def _lines(message: Message, indent: str) -> Iterator[str]:
    for field, value in message.ListFields():
        for item in value if is_repeated(field) else (value,):
            if field.type == FieldDescriptor.TYPE_MESSAGE:
                yield f"{indent}{field.name} {{\n"
                yield from _lines(item, indent + "  ")
                yield f"{indent}}}\n"
            else:
                yield f"{indent}{field.name}: {_scalar(field, item)}\n"


def is_repeated(field: FieldDescriptor) -> bool:
    """Whether a field is a list, in every version of protobuf."""
    # protobuf 7 drops `label`, versions before 5.29 lack `is_repeated`.
    if hasattr(field, "is_repeated"):
        return field.is_repeated
    return field.label == FieldDescriptor.LABEL_REPEATED


def _scalar(field: FieldDescriptor, value) -> str:
    if field.type == FieldDescriptor.TYPE_BOOL:
        return "true" if value else "false"
    if field.type == FieldDescriptor.TYPE_ENUM:
        return field.enum_type.values_by_number[value].name
    if field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
        data = value.encode("utf-8") if isinstance(value, str) else value
        return f'"{text_encoding.CEscape(data, False)}"'
    if field.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE):
        return format_float(value, field.type == FieldDescriptor.TYPE_FLOAT)
    return str(value)
