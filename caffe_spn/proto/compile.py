"""Compile caffe.proto into the descriptor that is shipped: ``python -m caffe_spn.proto.compile``.

Only what Caffe's schema and those of its forks use is understood (proto2 messages, enums, scalar
and message fields, reserved numbers, the options default, packed and deprecated), so that neither
a change of the schema nor an extension (`caffe_spn.proto.extension`) needs protoc.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

from google.protobuf import descriptor_pb2

HERE = Path(__file__).parent
SOURCE = HERE / "caffe.proto"
DESCRIPTOR = HERE / "caffe_descriptor.binpb"

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
    parsed = parse_proto(source, name)
    resolve(parsed.file)
    return parsed.file


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


def resolve(file: descriptor_pb2.FileDescriptorProto) -> None:
    """Replace the written type names by full ones and tell enums from messages.

    Raises
    ------
    SyntaxError
        If a type is not known; `name` of the error is the field, its messages before it.
    """
    kinds = dict(_kinds(file, ()))
    package = (file.package,) if file.package else ()
    for message in file.message_type:
        _resolve_message(message, (), kinds, package)


def _kinds(holder, scope: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
    for enum in holder.enum_type:
        yield (*scope, enum.name), _FIELD.TYPE_ENUM
    for message in holder.message_type if not scope else holder.nested_type:
        yield (*scope, message.name), _FIELD.TYPE_MESSAGE
        yield from _kinds(message, (*scope, message.name))


def _resolve_message(message, scope: tuple[str, ...], kinds: dict, package: tuple) -> None:
    path = (*scope, message.name)
    for field in message.field:
        if not field.type_name or field.type_name.startswith("."):
            continue
        written = tuple(field.type_name.split("."))
        # As `caffe.FillerParameter`, from inside the message outwards.
        names = [written] + ([written[1:]] if written[:1] == package else [])
        scopes = [path[:depth] for depth in range(len(path), -1, -1)]
        found = [(*s, *name) for name in names for s in scopes if (*s, *name) in kinds]
        if not found:
            error = SyntaxError(
                f"type {field.type_name!r} of {'.'.join(path)}.{field.name} is not known"
            )
            error.name = (*path, field.name)
            raise error
        field.type = kinds[found[0]]
        field.type_name = "." + ".".join((*package, *found[0]))
    for nested in message.nested_type:
        _resolve_message(nested, path, kinds, package)


def main() -> None:
    """Write caffe_descriptor.binpb from caffe.proto."""
    descriptor = compile_proto(SOURCE.read_text(encoding="utf-8"))
    DESCRIPTOR.write_bytes(descriptor.SerializeToString(deterministic=True))
    print(f"{DESCRIPTOR.name}: {len(descriptor.message_type)} messages")


if __name__ == "__main__":
    main()
