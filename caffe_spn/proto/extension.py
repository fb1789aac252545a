"""Add the messages and fields of a Caffe fork to the schema of this process.

The extension is a .proto file with what the fork has besides Caffe, or the fork's whole
caffe.proto: what both have alike is no clash. Where the fork gave one of Caffe's numbers to a field
of its own, ``reserved`` in the file takes the number away from Caffe's field, which keeps its
name::

    message LayerParameter {
      reserved 143;                              // Caffe's input_param
      optional InterpParameter interp_param = 143;
    }

The classes of `caffe_pb2` are made anew, in a descriptor pool of their own as before.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from google.protobuf import descriptor_pb2

from caffe_spn.errors import PrototxtError
from caffe_spn.proto import caffe_pb2
from caffe_spn.proto.compile import resolve
from caffe_spn.proto.files import read_bytes
from caffe_spn.proto.schema_parser import Parsed, parse_proto

_FIELD = descriptor_pb2.FieldDescriptorProto
# Where Caffe's fields go whose numbers a fork has; its files never have such numbers.
_MOVED = 1_000_000


def extend_schema(path: str | os.PathLike) -> None:
    """Add what a .proto file has to the schema.

    Parameters
    ----------
    path : str or path

    Raises
    ------
    PrototxtError
        With file and line, if the file cannot be read, or a name or number in it is taken. The
        schema is as it was then.
    """
    name = os.fspath(path)
    source = read_bytes(path, PrototxtError).decode("utf-8", "replace")
    try:
        parsed = parse_proto(source, name)
    except SyntaxError as error:
        raise PrototxtError(
            error.msg.removeprefix(f"line {error.lineno}: "),
            f"{name}:{error.lineno}",
            "an extension has messages, enums and fields in the proto2 syntax, as Caffe's own"
            " caffe.proto",
        ) from None
    extend_parsed(parsed)


def extend_parsed(parsed: Parsed) -> None:
    """Add what was parsed; see `extend_schema`."""
    merged = descriptor_pb2.FileDescriptorProto()
    caffe_pb2.DESCRIPTOR.CopyToProto(merged)
    merge = _Merge(parsed)
    merge.holder(merged, parsed.file, ())
    try:
        resolve(merged)
    except SyntaxError as error:
        raise merge.error(
            error.name,
            error.msg,
            "write its message or enum into the file too, or correct the name",
        ) from None
    try:
        caffe_pb2.load(merged)
    except TypeError as error:
        raise PrototxtError(f"it makes no schema: {error}", parsed.file.name) from None


class _Merge:
    def __init__(self, parsed: Parsed):
        self.parsed = parsed

    def error(self, path: tuple[str, ...], message: str, help: str | None) -> PrototxtError:
        line = self.parsed.lines.get(path)
        where = self.parsed.file.name + (f":{line}" if line else "")
        return PrototxtError(message, where, help)

    def holder(self, base, added, path: tuple[str, ...]) -> None:
        """Merge the messages and enums of a file or message into those of another."""
        base_messages, messages = (h.nested_type if path else h.message_type for h in (base, added))
        known = {message.name: message for message in base_messages}
        for message in messages:
            if message.name in known:
                self._message(known[message.name], message, (*path, message.name))
            else:
                base_messages.add().CopyFrom(message)
        known = {enum.name: enum for enum in base.enum_type}
        for enum in added.enum_type:
            if enum.name in known:
                self._enum(known[enum.name], enum, (*path, enum.name))
            else:
                base.enum_type.add().CopyFrom(enum)

    def _message(self, base, added, path: tuple[str, ...]) -> None:
        self._free(base, added, path)
        by_name = {field.name: field for field in base.field}
        by_number = {field.number: field for field in base.field}
        for field in added.field:
            place = (*path, field.name)
            same = by_name.get(field.name)
            if same is not None:
                self._check_same(same, field, place)
                continue
            taken = by_number.get(field.number)
            if taken is not None:
                raise self.error(
                    place,
                    f"number {field.number} of {path[-1]} is taken: it is that of '{taken.name}'",
                    f"if the fork has its field there, say so: message {path[-1]} "
                    f"{{ reserved {field.number}; }} gives '{taken.name}' another number",
                )
            base.field.add().CopyFrom(field)
            by_number[field.number] = by_name[field.name] = field
        self.holder(base, added, path)

    def _free(self, base, added, path: tuple[str, ...]) -> None:
        """Give fields of Caffe another number where the extension reserves theirs."""
        own = {(field.name, field.number) for field in added.field}
        for field in base.field:
            reserved = any(
                field.number in numbers for numbers in self.parsed.reserved.get(path, ())
            )
            # What the extension has there itself is from reading it before.
            if reserved and (field.name, field.number) not in own:
                field.number += _MOVED

    def _check_same(self, base, added, place: tuple[str, ...]) -> None:
        def differs(what: str, get: Callable) -> None:
            if get(base) != get(added):
                raise self.error(
                    place,
                    f"the name '{added.name}' in {place[-2]} is taken by another field: "
                    f"its {what} is {get(base)}, here it is {get(added)}",
                    "a fork's file has numbers, not names: give the field another name",
                )

        differs("label", lambda field: _word("LABEL", field.label))
        differs("type", _type_word)
        differs("number", lambda field: field.number)
        theirs, ours = (_default(field) for field in (added, base))
        if theirs != ours:
            raise self.error(
                place,
                f"the default of '{added.name}' in {place[-2]} is {ours} in Caffe, here it is"
                f" {theirs}",
                "leave the field out of the file, and state its value in the prototxt",
            )

    def _enum(self, base, added, path: tuple[str, ...]) -> None:
        by_name = {value.name: value.number for value in base.value}
        by_number = {value.number: value.name for value in base.value}
        for value in added.value:
            if by_name.get(value.name) == value.number:
                continue
            if value.name in by_name or value.number in by_number:
                raise self.error(
                    (*path, value.name),
                    f"{value.name} = {value.number} in {'.'.join(path)}: Caffe has "
                    + (
                        f"{value.name} = {by_name[value.name]}"
                        if value.name in by_name
                        else f"{by_number[value.number]} = {value.number}"
                    ),
                    "values of an enum cannot change; leave this one out",
                )
            base.value.add().CopyFrom(value)
            by_name[value.name], by_number[value.number] = value.number, value.name


def _word(kind: str, number: int) -> str:
    enum = _FIELD.DESCRIPTOR.enum_types_by_name["Label" if kind == "LABEL" else "Type"]
    return enum.values_by_number[number].name.removeprefix(f"{kind}_").lower()


def _default(field) -> str:
    if not field.HasField("default_value"):
        return "not stated"
    if not field.type_name and field.type in (_FIELD.TYPE_FLOAT, _FIELD.TYPE_DOUBLE):
        # The library spells a schema's floats in its own way.
        return f"{float(field.default_value):.6g}"
    return field.default_value or '""'


def _type_word(field) -> str:
    if field.type_name:
        return field.type_name.rpartition(".")[2]
    return _word("TYPE", field.type)
