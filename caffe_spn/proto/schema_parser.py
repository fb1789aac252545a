"""Parse the text of a .proto file: the part of the language that Caffe and its forks use.

That is proto2 messages, enums, scalar and message fields, reserved numbers, and the options
default, packed and deprecated.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

from google.protobuf import descriptor_pb2

_TOKEN = re.compile(
    r"\s+|//[^\n]*|/\*(?s:.*?)\*/"
    r"""|(?P<token>"[^"\n]*"|'[^'\n]*'|[A-Za-z_.][\w.]*|-?[\d.][\w.+-]*|[{}=;\[\],()])"""
)
_FIELD = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    name: getattr(_FIELD, f"TYPE_{name.upper()}")
    for name in ("double", "float", "int64", "uint64", "int32", "uint32", "bool", "string", "bytes")
}
_LABELS = {
    name: getattr(_FIELD, f"LABEL_{name.upper()}") for name in ("optional", "repeated", "required")
}


@dataclasses.dataclass
class Parsed:
    """What a .proto file says, its type names still as they are written.

    Attributes
    ----------
    file : FileDescriptorProto
    lines : dict
        The line of each message, field, enum and value, by names from the outermost on.
    reserved : dict
        The reserved numbers of each message, by the same names.
    """

    file: descriptor_pb2.FileDescriptorProto
    lines: dict[tuple[str, ...], int] = dataclasses.field(default_factory=dict)
    reserved: dict[tuple[str, ...], list[range]] = dataclasses.field(default_factory=dict)


def parse_proto(source: str, name: str) -> Parsed:
    """Parse the text of a .proto file that may name types of another one.

    Raises
    ------
    SyntaxError
        If something stands where it should not; with the line.
    """
    parser = _Parser(source, name)
    try:
        return parser.parse()
    except SyntaxError as error:
        if error.lineno is None:
            error.filename, error.lineno = name, parser.line
        raise


class _Parser:
    def __init__(self, source: str, name: str):
        self.line = 0
        self._tokens = _tokenise(source, name)
        self._next, self._next_line = next(self._tokens)
        self._parsed = Parsed(descriptor_pb2.FileDescriptorProto(name=name))

    def parse(self) -> Parsed:
        out = self._parsed.file
        while self._next:
            keyword = self._take()
            if keyword == "syntax":
                self._expect("=")
                if (version := self._take().strip("\"'")) != "proto2":
                    raise SyntaxError(f"the syntax is {version!r}; Caffe's is proto2")
                self._expect(";")
            elif keyword == "package":
                out.package = self._take()
                self._expect(";")
            elif keyword == "option":
                self._skip_statement()
            elif keyword == "enum":
                self._enum(out.enum_type.add(), ())
            elif keyword == "message":
                self._message(out.message_type.add(), ())
            elif keyword != ";":
                raise SyntaxError(f"{keyword!r} is neither enum nor message")
        return self._parsed

    def _take(self) -> str:
        token, self.line = self._next, self._next_line
        self._next, self._next_line = next(self._tokens, ("", self.line))
        return token

    def _expect(self, *tokens: str) -> None:
        for wanted in tokens:
            found = self._take()
            if found != wanted:
                raise SyntaxError(f"{found!r} stands where {wanted!r} should")

    def _accept(self, token: str) -> bool:
        return self._next == token and bool(self._take())

    def _skip_statement(self) -> None:
        while self._take() not in (";", ""):
            pass

    def _number(self) -> int:
        word = self._take()
        try:
            return int(word, 0)
        except ValueError:
            raise SyntaxError(f"{word!r} stands where a number should") from None

    def _named(self, scope: tuple[str, ...], name: str) -> tuple[str, ...]:
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise SyntaxError(f"{name!r} stands where a name should")
        path = (*scope, name)
        self._parsed.lines[path] = self.line
        return path

    def _enum(self, enum: descriptor_pb2.EnumDescriptorProto, scope: tuple[str, ...]) -> None:
        enum.name = self._take()
        path = self._named(scope, enum.name)
        self._expect("{")
        while not self._accept("}"):
            value = enum.value.add(name=self._take())
            self._named(path, value.name)
            self._expect("=")
            value.number = self._number()
            if self._accept("["):
                while self._take() not in ("]", ""):
                    pass
            self._expect(";")

    def _message(self, message: descriptor_pb2.DescriptorProto, scope: tuple[str, ...]) -> None:
        message.name = self._take()
        path = self._named(scope, message.name)
        self._expect("{")
        while not self._accept("}"):
            keyword = self._take()
            if keyword == "enum":
                self._enum(message.enum_type.add(), path)
            elif keyword == "message":
                self._message(message.nested_type.add(), path)
            elif keyword == "reserved":
                self._reserved(path)
            elif keyword == "option":
                self._skip_statement()
            elif keyword in _LABELS:
                self._field(message.field.add(label=_LABELS[keyword]), path)
            elif keyword != ";":
                raise SyntaxError(f"{keyword!r} in {message.name} is neither a label nor enum")

    def _reserved(self, path: tuple[str, ...]) -> None:
        ranges = self._parsed.reserved.setdefault(path, [])
        while True:
            first = last = self._number()
            if self._accept("to"):
                last = self._number()
            ranges.append(range(first, last + 1))
            if not self._accept(","):
                break
        self._expect(";")

    def _field(self, field: descriptor_pb2.FieldDescriptorProto, scope: tuple[str, ...]) -> None:
        type_name = self._take()
        if type_name in _SCALARS:
            field.type = _SCALARS[type_name]
        else:
            field.type_name = type_name
        field.name = self._take()
        self._named(scope, field.name)
        self._expect("=")
        field.number = self._number()
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
            field.default_value = _default(field, value)
        elif key in ("packed", "deprecated"):
            setattr(field.options, key, value == "true")
        else:
            raise SyntaxError(f"option {key!r} of {field.name} is not known")


def _default(field: descriptor_pb2.FieldDescriptorProto, written: str) -> str:
    value = written.strip("\"'")
    if not field.type_name and field.type in (_FIELD.TYPE_FLOAT, _FIELD.TYPE_DOUBLE):
        # protoc's spelling, so that 0.0 and 0 are the same default.
        return f"{float(value.rstrip('fF') if value[:1].isdigit() else value):.9g}"
    return value


def _tokenise(source: str, name: str) -> Iterator[tuple[str, int]]:
    position, line = 0, 1
    while position < len(source):
        match = _TOKEN.match(source, position)
        if match is None:
            found = source[position]
            raise SyntaxError(f"line {line}: {found!r} is not expected", (name, line, None, None))
        if match["token"]:
            yield match["token"], line
        line += match[0].count("\n")
        position = match.end()
    # Two empty tokens: one to look at after the last real one, one to take.
    yield from (("", line), ("", line))
