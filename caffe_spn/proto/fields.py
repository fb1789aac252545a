"""Carry values from message to message, whatever they are.

Caffe copies texts as bytes; the Python library refuses to set one that is not UTF-8, which paths
in old files often are. And messages may come from another set of classes: another program's
``caffe_pb2``, or this package's own from before an extension (`caffe_spn.proto.extension`).
"""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from caffe_spn.proto.printer import is_repeated
from caffe_spn.proto.wire import length_delimited

AnyMessage = TypeVar("AnyMessage", bound=Message)


def put(message: Message, name: str, value) -> None:
    """Set a field, or append to it when it is a list.

    Parameters
    ----------
    message : Message
    name : str
        The field.
    value : number, str, bytes, Message, or a list of these
        Texts that are not UTF-8 are bytes, as the library hands them out.
    """
    field = message.DESCRIPTOR.fields_by_name[name]
    repeated = is_repeated(field)
    for item in value if repeated and not isinstance(value, (str, bytes, int, float)) else [value]:
        if isinstance(item, bytes) and field.type == FieldDescriptor.TYPE_STRING:
            message.MergeFromString(length_delimited(field.number, item) + item)
        elif isinstance(item, Message):
            target = getattr(message, name)
            copy_into(target.add() if repeated else target, item)
        elif repeated:
            getattr(message, name).append(item)
        else:
            setattr(message, name, item)


def copy_into(target: AnyMessage, source: Message) -> AnyMessage:
    """Make `target` equal to `source`, which may be of another class of the same name."""
    if type(target) is type(source):
        target.CopyFrom(source)
    else:
        target.Clear()
        target.MergeFromString(source.SerializePartialToString())
        target.SetInParent()
    return target
