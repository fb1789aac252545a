"""Say what an error of the text format means in a Caffe user's words, and what to do about it."""

from __future__ import annotations

import re

from google.protobuf.descriptor import Descriptor

from caffe_spn.errors import nearest
from caffe_spn.proto import caffe_pb2
from caffe_spn.proto.dialects import field_help

_NO_FIELD = re.compile(r'Message type "caffe\.([\w.]+)" has no field named "([^"]*)"')
_NO_VALUE = re.compile(r'Enum type "caffe\.([\w.]+)" has no value (?:named|with number) (.*?)\.$')
_TWICE = re.compile(r'Message type "caffe\.([\w.]+)" should not have multiple "(\w+)" fields')
_UNCLOSED = re.compile(r'Expected "([}>])"')
_OTHERS = (
    (re.compile(r"Expected string but found: '(.*)'"), "a text in quotes", "a string needs quotes"),
    (re.compile(r"Couldn't parse integer: (.*)"), "an integer", None),
    (re.compile(r"Couldn't parse float: (.*)"), "a number", None),
    (re.compile(r"^'(.*)': Expected \"true\" or \"false\""), "true or false", None),
    (re.compile(r"Expected identifier or number, got (.*)"), "the name of a field", None),
    (re.compile(r"^'(.*)': Expected \":\""), "a colon and a value", None),
    (re.compile(r"^'(.*)': Expected \"{\""), "a block { }", None),
)


def explain(finding: str, root: Descriptor) -> tuple[str, str | None]:
    """Reword a finding of `text_format` and add a remedy where one is known.

    Parameters
    ----------
    finding : str
        The message of a `text_format.ParseError`, without its position.
    root : Descriptor
        What the whole text was read as.

    Returns
    -------
    (str, str or None)
        The finding and the help.
    """
    if match := _NO_FIELD.search(finding):
        if match[2].isdigit():
            help = "write decimals with a point; fields go by name, not by number"
            return f"{match[2]} stands where the name of a field should", help
        return f"{match[1]} has no field '{match[2]}'", _field_help(match[1], match[2], root)
    if match := _NO_VALUE.search(finding):
        return _explain_enum(match[1], match[2])
    if match := _TWICE.search(finding):
        return f"'{match[2]}' is given twice in one {match[1]}", "leave one of them out"
    if match := _UNCLOSED.search(finding):
        return f"the text ends before the last '{match[1]}'", None
    if match := re.search(r"Value out of range: (.*)", finding):
        return f"{match[1]} is out of the range of this field", None
    if "Couldn't parse string: 'utf-8'" in finding:
        return "this string is not UTF-8", "look for octal and hexadecimal escapes in it"
    for pattern, expected, help in _OTHERS:
        if match := pattern.search(finding):
            found = match[1].rstrip(".") or "the end of the text"
            return f"{found} stands where {expected} should", help
    return finding.rstrip("."), None


def _field_help(message: str, name: str, root: Descriptor) -> str | None:
    descriptor = _descriptor(message)
    if root.name == "SolverParameter" and name in ("layer", "layers") and descriptor is root:
        return 'this is a net, not a solver; a solver names it: net: "file.prototxt"'
    if name in ("layer", "layers") and message != "NetParameter":
        return "the block before it is probably not closed: look for a missing '}'"
    if (
        root.name == "NetParameter"
        and descriptor is root
        and name in _field_names("SolverParameter")
    ):
        return "this belongs to a solver, and the file is read as a net"
    inside = _fields_with(descriptor, name)
    if inside:
        return f"'{name}' goes inside {' or '.join(f'{field} {{ }}' for field in inside[:3])}"
    dialect = field_help(name)
    if dialect:
        return dialect
    near = nearest(name, _field_names(message))
    if near and name.endswith("_param") and not nearest(name[:-6], [near.removesuffix("_param")]):
        # Alike only in that they are parameters.
        return None
    return f"did you mean '{near}'?" if near else None


def _explain_enum(enum: str, value: str) -> tuple[str, str]:
    message, _, short = enum.rpartition(".")
    holder = _descriptor(message) if message else caffe_pb2.DESCRIPTOR
    names = [value.name for value in holder.enum_types_by_name[short].values]
    near = nearest(value.strip("\"'"), names)
    known = f"one of {', '.join(names)}" if len(names) <= 8 else f"a {short}"
    return f"{value} is not {known}", f"write {near}" if near else "write one of them, unquoted"


def _descriptor(message: str) -> Descriptor:
    """A message by its name; an extension may have messages inside messages."""
    outer, *inner = message.split(".")
    found = caffe_pb2.DESCRIPTOR.message_types_by_name[outer]
    for name in inner:
        found = found.nested_types_by_name[name]
    return found


def _field_names(message: str) -> list[str]:
    return list(_descriptor(message).fields_by_name)


def _fields_with(descriptor: Descriptor, name: str) -> list[str]:
    """Message fields of a layer in which a field of that name exists."""
    if descriptor.name != "LayerParameter":
        return []
    return [
        field.name
        for field in descriptor.fields
        if field.name.endswith("_param") and name in field.message_type.fields_by_name
    ]
