"""Take the numbers out of a binary message without a copy.

A file of weights is a few kilobytes of structure around hundreds of megabytes of numbers. The
protobuf library would copy the numbers once into messages and once more out of them, element by
element in some of its versions. This module walks over the bytes instead: the numbers become NumPy
views into the file's own bytes, and only the structure around them (the skeleton) is left for the
library.

Source: the encoding of protocol buffers, https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_FIXED_SIZE = {FIXED64: 8, FIXED32: 4}
# BlobProto's fields of numbers.
_NUMBERS = {5: np.dtype("<f4"), 6: np.dtype("<f4"), 8: np.dtype("<f8"), 9: np.dtype("<f8")}
_NAMES = {5: "data", 6: "diff", 8: "double_data", 9: "double_diff"}
# The skeleton's blobs keep the number of their Numbers here, in double_diff, which is taken out of
# them like all numbers. So it goes with the blob through the upgrade of old formats.
_MARK_TAG = 9 << 3 | FIXED64

BLOB = "blob"
NET = {100: {7: BLOB}, 2: {6: BLOB, 1: {50: BLOB}}}
"""Where a NetParameter has blobs: layer.blobs, layers.blobs, layers.layer.blobs."""


class WireError(Exception):
    """Bytes that are no message: the text says what was found, and where."""


@dataclass
class Numbers:
    """The numbers of one BlobProto, as read-only views."""

    data: np.ndarray | None = None
    diff: np.ndarray | None = None
    double_data: np.ndarray | None = None
    double_diff: np.ndarray | None = None
    pieces: dict[int, list[np.ndarray]] = field(default_factory=dict)

    def join(self) -> None:
        """Several pieces of one field, which the encoding allows, become one array."""
        for number, pieces in self.pieces.items():
            array = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
            setattr(self, _NAMES[number], array)
        self.pieces.clear()


def extract(buffer: bytes, fields: dict) -> tuple[bytes, list[Numbers]]:
    """Split a message into its structure and its numbers.

    Parameters
    ----------
    buffer : bytes
        The message.
    fields : dict
        Field numbers on the way to blobs, as in `NET`; the others are left as they are.

    Returns
    -------
    (bytes, list of Numbers)
        The message without numbers, in whose blobs `index_of` finds a place in the list.

    Raises
    ------
    WireError
        If a length leads past the end, or the bytes make no sense.
    """
    numbers: list[Numbers] = []
    skeleton = _message(memoryview(buffer), 0, len(buffer), fields, numbers)
    return bytes(skeleton), numbers


def index_of(blob_proto) -> int:
    """The place of a skeleton's blob in the list of `Numbers`."""
    return int(blob_proto.double_diff[0])


def varint(value: int) -> bytes:
    """The bytes of a number that is not negative."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def length_delimited(number: int, payload) -> bytes:
    """Tag and length that stand before a message, string or packed numbers."""
    return varint(number << 3 | BYTES) + varint(len(payload))


def _message(view: memoryview, start: int, end: int, fields: dict, numbers: list) -> bytearray:
    out = bytearray()
    position = start
    while position < end:
        number, kind, value, after = _field(view, position, end)
        inner = fields.get(number) if kind == BYTES else None
        if inner is None:
            out += view[position:after]
        else:
            if inner is BLOB:
                content = _blob(view, value, after, numbers)
            else:
                content = _message(view, value, after, inner, numbers)
            out += length_delimited(number, content)
            out += content
        position = after
    return out


def _blob(view: memoryview, start: int, end: int, numbers: list) -> bytearray:
    out, found = bytearray(), Numbers()
    position = start
    while position < end:
        number, kind, value, after = _field(view, position, end)
        if number not in _NUMBERS:
            out += view[position:after]
        elif kind == BYTES or _FIXED_SIZE.get(kind) == _NUMBERS[number].itemsize:
            dtype = _NUMBERS[number]
            if (after - value) % dtype.itemsize:
                raise WireError(
                    f"{_NAMES[number]} at byte {position} is {after - value} bytes long, "
                    f"not a multiple of {dtype.itemsize}"
                )
            found.pieces.setdefault(number, []).append(np.frombuffer(view[value:after], dtype))
        else:
            raise WireError(f"{_NAMES[number]} at byte {position} does not hold numbers")
        position = after
    found.join()
    out += varint(_MARK_TAG) + np.float64(len(numbers)).tobytes()
    numbers.append(found)
    return out


def _field(view: memoryview, position: int, end: int) -> tuple[int, int, int, int]:
    """Number, kind, start of the content and end of the field at `position`."""
    tag, value = _varint(view, position, end)
    number, kind = tag >> 3, tag & 7
    if number == 0:
        raise WireError(f"the bytes at {position} are no field of a message")
    if kind == VARINT:
        after = _varint(view, value, end)[1]
    elif kind == BYTES:
        length, value = _varint(view, value, end)
        after = value + length
    elif kind in _FIXED_SIZE:
        after = value + _FIXED_SIZE[kind]
    else:
        raise WireError(f"field {number} at byte {position} is of a kind that Caffe never writes")
    if after > end:
        raise WireError(
            f"field {number} at byte {position} should go on for {after - value} bytes, "
            f"but only {end - value} are left"
        )
    return number, kind, value, after


def _varint(view: memoryview, position: int, end: int) -> tuple[int, int]:
    value = shift = 0
    for place in range(position, min(position + 10, end)):
        byte = view[place]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place + 1
        shift += 7
    what = "is no number" if end - position >= 10 else "is cut off"
    raise WireError(f"the number at byte {position} {what}")
