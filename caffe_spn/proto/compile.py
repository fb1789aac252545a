"""Compile caffe.proto into the descriptor that is shipped: ``python -m caffe_spn.proto.compile``.

Only what caffe.proto uses is understood (proto2 messages, enums, scalar and message fields, the
options default, packed and deprecated), so that changing the schema needs no protoc.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from google.protobuf import descriptor_pb2

HERE = Path(__file__).parent
SOURCE = HERE / "caffe.proto"
DESCRIPTOR = HERE / "caffe_descriptor.binpb"

_TOKEN = re.compile(
    r'\s+|//[^\n]*|(?P<token>"[^"\n]*"|[A-Za-z_][\w.]*|-?[\d.][\w.+-]*|[{}=;\[\],])'
)
_FIELD = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    name: getattr(_FIELD, f"TYPE_{name.upper()}")
    for name in ("double", "float", "int64", "uint64", "int32", "uint32", "bool", "string", "bytes")
}
_LABELS = {
    name: getattr(_FIELD, f"LABEL_{name.upper()}") for name in ("optional", "repeated", "required")
}


def compile_proto(source: str, name: str = "caffe.proto") -> descriptor_pb2.FileDescriptorProto:
    """Parse the text of a .proto file.

    Parameters
    ----------
    source : str
        The text.
    name : str
        The file name that the descriptor carries.

    Returns
    -------
    FileDescriptorProto
        With every type name resolved.

    Raises
    ------
    SyntaxError
        If something stands where it should not, or a type is not known.
    """
    return _Parser(source).file(name)


class _Parser:
    def __init__(self, source: str):
        self._tokens = _tokenise(source)
        self._next = next(self._tokens)

    def file(self, name: str) -> descriptor_pb2.FileDescriptorProto:
        out = descriptor_pb2.FileDescriptorProto(name=name)
        while self._next:
            keyword = self._take()
            if keyword == "syntax":
                self._expect("=", '"proto2"', ";")
            elif keyword == "package":
                out.package = self._take()
                self._expect(";")
            elif keyword == "enum":
                self._enum(out.enum_type.add())
            elif keyword == "message":
                self._message(out.message_type.add())
            else:
                raise SyntaxError(f"{keyword!r} is neither enum nor message")
        _resolve(out)
        return out

    def _take(self) -> str:
        token, self._next = self._next, next(self._tokens)
        return token

    def _expect(self, *tokens: str) -> None:
        for wanted in tokens:
            found = self._take()
            if found != wanted:
                raise SyntaxError(f"{found!r} stands where {wanted!r} should")

    def _accept(self, token: str) -> bool:
        return self._next == token and bool(self._take())

    def _enum(self, enum: descriptor_pb2.EnumDescriptorProto) -> None:
        enum.name = self._take()
        self._expect("{")
        while not self._accept("}"):
            value = enum.value.add(name=self._take())
            self._expect("=")
            value.number = int(self._take())
            self._expect(";")

    def _message(self, message: descriptor_pb2.DescriptorProto) -> None:
        message.name = self._take()
        self._expect("{")
        while not self._accept("}"):
            keyword = self._take()
            if keyword == "enum":
                self._enum(message.enum_type.add())
            elif keyword in _LABELS:
                self._field(message.field.add(label=_LABELS[keyword]))
            else:
                raise SyntaxError(f"{keyword!r} in {message.name} is neither a label nor enum")

    def _field(self, field: descriptor_pb2.FieldDescriptorProto) -> None:
        type_name = self._take()
        if type_name in _SCALARS:
            field.type = _SCALARS[type_name]
        else:
            field.type_name = type_name
        field.name = self._take()
        self._expect("=")
        field.number = int(self._take())
        if self._accept("["):
            self._option(field)
            while self._accept(","):
                self._option(field)
            self._expect("]")
        self._expect(";")

    def _option(self, field: descriptor_pb2.FieldDescriptorProto) -> None:
        key = self._take()
        self._expect("=")
        value = self._take()
        if key == "default":
            field.default_value = value.strip('"')
        elif key in ("packed", "deprecated"):
            setattr(field.options, key, value == "true")
        else:
            raise SyntaxError(f"option {key!r} of {field.name} is not known")


def _tokenise(source: str) -> Iterator[str]:
    position = 0
    while position < len(source):
        match = _TOKEN.match(source, position)
        if match is None:
            line = source.count("\n", 0, position) + 1
            raise SyntaxError(f"line {line}: {source[position]!r} is not expected")
        position = match.end()
        if match["token"]:
            yield match["token"]
    # Two empty tokens: one to look at after the last real one, one to take.
    yield from ("", "")


def _resolve(file: descriptor_pb2.FileDescriptorProto) -> None:
    """Replace the written type names by full ones and tell enums from messages."""
    enums = {enum.name for enum in file.enum_type}
    messages = {message.name for message in file.message_type}
    for message in file.message_type:
        own_enums = {enum.name for enum in message.enum_type}
        for field in message.field:
            if not field.type_name:
                continue
            written = field.type_name
            if written in own_enums:
                field.type, written = _FIELD.TYPE_ENUM, f"{message.name}.{written}"
            elif written in enums:
                field.type = _FIELD.TYPE_ENUM
            elif written in messages:
                field.type = _FIELD.TYPE_MESSAGE
            else:
                raise SyntaxError(f"type {written!r} of {message.name}.{field.name} is not known")
            field.type_name = f".{file.package}.{written}"


def main() -> None:
    """Write caffe_descriptor.binpb from caffe.proto."""
    descriptor = compile_proto(SOURCE.read_text(encoding="utf-8"))
    DESCRIPTOR.write_bytes(descriptor.SerializeToString(deterministic=True))
    print(f"{DESCRIPTOR.name}: {len(descriptor.message_type)} messages")


if __name__ == "__main__":
    main()
