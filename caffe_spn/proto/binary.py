"""Read and write binary messages: .caffemodel, .solverstate, .binaryproto.

A write is atomic: whoever opens the file, at any time, finds the old content or the whole new one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TypeVar

from google.protobuf.message import DecodeError, EncodeError, Message

from caffe_spn.errors import WeightsError
from caffe_spn.proto import wire
from caffe_spn.proto.files import MAX_BYTES, TOO_LARGE, USE_HDF5, atomic_write, read_bytes
from caffe_spn.proto.printer import is_repeated
from caffe_spn.proto.wire import Numbers, WireError, extract, length_delimited

__all__ = ["atomic_write", "parse", "read", "read_bytes", "read_split", "write", "write_pieces"]

AnyMessage = TypeVar("AnyMessage", bound=Message)

_BLOBS_IN = {"NetParameter": wire.NET, "SolverState": wire.STATE, "BlobProtoVector": {1: wire.BLOB}}
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


def read(path: str | os.PathLike, message_class: type[AnyMessage]) -> AnyMessage:
    """Read a message from a file.

    Raises
    ------
    WeightsError
        If the file cannot be read or is no such message.
    """
    return parse(read_bytes(path), message_class, os.fspath(path))


def parse(data: bytes, message_class: type[AnyMessage], name: str = "<bytes>") -> AnyMessage:
    """Make a message of bytes; `name` is what errors call them. No bytes are an empty message."""
    kind = message_class.DESCRIPTOR.name
    try:
        if kind in _BLOBS_IN:
            # A look at the bytes refuses what would take a hundred times their memory.
            extract(data, _BLOBS_IN[kind])
        message = message_class.FromString(data)
        _check_texts(message)
        return message
    except WireError as error:
        raise not_a_message(data, name, f"they are no {kind}: {error}") from None
    except (DecodeError, UnicodeDecodeError):
        raise not_a_message(data, name, f"they are no {kind}") from None


def read_split(
    path: str | os.PathLike, message_class: type[AnyMessage], fields: dict
) -> tuple[AnyMessage, list[Numbers]]:
    """Read a message from a file, its numbers apart from it and without a copy.

    Parameters
    ----------
    path : str or path
    message_class : type
    fields : dict
        Where it has blobs, such as `wire.NET`.

    Returns
    -------
    (Message, list of Numbers)
        See `wire.extract`.

    Raises
    ------
    WeightsError
        If the file cannot be read, is no such message, or claims more than it can hold.
    """
    data, name = read_bytes(path), os.fspath(path)
    try:
        skeleton, numbers = extract(data, fields)
        return message_class.FromString(skeleton), numbers
    except (WireError, DecodeError) as error:
        why = "" if isinstance(error, DecodeError) else f": {error}"
        kind = message_class.DESCRIPTOR.name
        raise not_a_message(data, name, f"they are no {kind}{why}") from None


def not_a_message(data: bytes, name: str, finding: str) -> WeightsError:
    """The error for a file whose bytes are something else, with a guess what they are."""
    start = data[:256]
    if start.startswith(_HDF5_MAGIC):
        help = "this is an HDF5 file; give it a name that ends with .h5"
    elif start.startswith(b"version https://git-lfs"):
        help = "this is a Git LFS pointer, not the file itself: run git lfs pull"
    elif start.lstrip()[:1] == b"<":
        help = "this is a web page, not the file that it offers"
    elif start and all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in start):
        help = "this is text: a definition (.prototxt) goes where definitions go"
    elif len(set(start)) == 1:
        help = f"it begins with {len(start)} equal bytes: the file was not written to its end"
    else:
        help = "the file is damaged or was not copied to its end; get it again"
    return WeightsError(f"the file has {len(data)} bytes, but {finding}", name, help)


def write(path: str | os.PathLike, message: Message) -> None:
    """Write a message, atomically.

    Raises
    ------
    WeightsError
        If the file cannot be written, or the message is larger than 2 GB; what was there before is
        left as it was.
    """
    try:
        write_pieces(path, _pieces(message))
    except EncodeError as error:
        raise WeightsError(f"the message cannot be written: {error}", os.fspath(path)) from None


def write_pieces(path: str | os.PathLike, pieces: Iterable) -> None:
    """Write a message that comes as pieces of bytes, atomically; raises as `write` does."""
    name, written = os.fspath(path), 0
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        for piece in pieces:
            written += memoryview(piece).nbytes
            if written > MAX_BYTES:
                raise WeightsError(f"the message has {written} bytes{TOO_LARGE}", name, USE_HDF5)
            file.write(piece)


def _pieces(message: Message) -> Iterator[bytes]:
    """The bytes of a message, layer by layer: at no time are all of them in memory."""
    fields = message.ListFields()
    if not any(_is_message_list(field) for field, _ in fields):
        yield message.SerializeToString()
        return
    for field, value in fields:
        if _is_message_list(field):
            for item in value:
                content = item.SerializeToString()
                yield length_delimited(field.number, content)
                yield content
            continue
        part = type(message)()
        if field.message_type is not None:
            getattr(part, field.name).CopyFrom(value)
        elif is_repeated(field):
            getattr(part, field.name).extend(value)
        else:
            setattr(part, field.name, value)
        yield part.SerializeToString()


def _check_texts(message: Message) -> None:
    # The library gives out bytes for a text that is not UTF-8; who gets it expects a str.
    for field, value in message.ListFields():
        if field.type == field.TYPE_STRING and isinstance(value, bytes):
            value.decode("utf-8")


def _is_message_list(field) -> bool:
    return field.message_type is not None and is_repeated(field)
