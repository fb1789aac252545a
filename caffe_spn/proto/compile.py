"""Compile caffe.proto into the descriptor that is shipped: ``python -m caffe_spn.proto.compile``.

Neither a change of the schema nor an extension (`caffe_spn.proto.extension`) needs protoc.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from google.protobuf import descriptor_pb2

from caffe_spn.proto.schema_parser import parse_proto

HERE = Path(__file__).parent
SOURCE = HERE / "caffe.proto"
DESCRIPTOR = HERE / "caffe_descriptor.binpb"

_FIELD = descriptor_pb2.FieldDescriptorProto


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
