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
STATE = {3: BLOB}
"""Where a SolverState has blobs: history."""
KEEP, DROP, OTHERS = "keep", "drop", -1
WEIGHTS = {
    100: {1: KEEP, 7: BLOB, OTHERS: DROP},
    2: {4: KEEP, 6: BLOB, 1: {1: KEEP, 50: BLOB, OTHERS: DROP}, OTHERS: DROP},
    OTHERS: DROP,
}
"""Of a NetParameter only the layers' names and blobs. The definition in a fork's file may make no
sense with Caffe's field numbers; its weights do."""

# What a message may have around its numbers. A few bytes of a file can become a hundred times as
# many in the library's memory; the largest networks have some thousand layers and a megabyte of
# structure.
MAX_PARTS = 100_000
MAX_STRUCTURE = 32 << 20
# BlobProto's fields besides its numbers; what other forks have added there is left out.
_OF_A_BLOB = frozenset((1, 2, 3, 4, 7))
# NVCaffe since 0.16 writes numbers of three types as bytes.
_RAW_TYPE, _RAW_DATA = 10, 12
_RAW_TYPES = {0: np.dtype("<f8"), 1: np.dtype("<f4"), 2: np.dtype("<f2")}
_TAGS_AT_A_TIME = 1 << 16


class WireError(Exception):
    """Bytes that are no message: the text says what was found, and where."""


@dataclass
class Numbers:
    """The numbers of one BlobProto, as read-only views."""

    data: np.ndarray | None = None
    diff: np.ndarray | None = None
    double_data: np.ndarray | None = None
    double_diff: np.ndarray | None = None
    raw: dict[int, slice | int] = field(default_factory=dict)
    pieces: dict[int, list[np.ndarray]] = field(default_factory=dict)

    def join(self, view: memoryview) -> None:
        """Several pieces of one field, which the encoding allows, become one array."""
        if _RAW_DATA in self.raw and not self.pieces:
            self.data = _raw_array(view[self.raw[_RAW_DATA]], self.raw.get(_RAW_TYPE, 0))
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
        Field numbers on the way to blobs, as in `NET`; the others are left as they are, or left
        out where `OTHERS` says `DROP`.

    Returns
    -------
    (bytes, list of Numbers)
        The message without numbers, in whose blobs `index_of` finds a place in the list.

    Raises
    ------
    WireError
        If a length leads past the end, the bytes make no sense, or there is more structure than
        any network has; before memory is taken for it.
    """
    walk = _Walk(memoryview(buffer))
    skeleton = walk.message(0, len(buffer), fields)
    return bytes(skeleton), walk.numbers


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
    return prefix(number, len(payload))


def prefix(number: int, size: int) -> bytes:
    """Tag and length that stand before `size` bytes."""
    return varint(number << 3 | BYTES) + varint(size)


class _Walk:
    """Goes over a message once, collecting its numbers and copying the rest."""

    def __init__(self, view: memoryview):
        self.view = view
        self.numbers: list[Numbers] = []
        self.parts = 0

    def message(self, start: int, end: int, fields: dict) -> bytearray:
        out = bytearray()
        position = start
        while position < end:
            number, kind, value, after = _field(self.view, position, end)
            inner = fields.get(number, fields.get(OTHERS, KEEP))
            if inner is DROP:
                pass
            elif inner is KEEP or kind != BYTES:
                self._check_structure(len(out) + after - position, position)
                out += self.view[position:after]
            else:
                self._count_part(position)
                if inner is BLOB:
                    content = self._blob(value, after)
                else:
                    content = self.message(value, after, inner)
                self._check_structure(len(out) + len(content), position)
                out += length_delimited(number, content)
                out += content
            position = after
        return out

    def _blob(self, start: int, end: int) -> bytearray:
        out, found = bytearray(), Numbers()
        position = start
        while position < end:
            number, kind, value, after = _field(self.view, position, end)
            if number in _NUMBERS:
                array, after = self._array(number, kind, position, value, after, end)
                found.pieces.setdefault(number, []).append(array)
            elif number in _OF_A_BLOB:
                self._check_structure(len(out) + after - position, position)
                out += self.view[position:after]
            elif number == _RAW_DATA and kind == BYTES:
                found.raw[number] = slice(value, after)
            elif number == _RAW_TYPE and kind == VARINT:
                found.raw[number] = _varint(self.view, value, after)[0]
            else:
                self._count_part(position)
            position = after
        found.join(self.view)
        out += varint(_MARK_TAG) + np.float64(len(self.numbers)).tobytes()
        self.numbers.append(found)
        return out

    def _array(
        self, number: int, kind: int, position: int, value: int, after: int, end: int
    ) -> tuple[np.ndarray, int]:
        """The numbers of the field at `position`, and where they end."""
        dtype = _NUMBERS[number]
        self._count_part(position)
        if kind == BYTES:
            if (after - value) % dtype.itemsize:
                raise WireError(
                    f"{_NAMES[number]} at byte {position} is {after - value} bytes long, "
                    f"not a multiple of {dtype.itemsize}"
                )
            return np.frombuffer(self.view[value:after], dtype), after
        if _FIXED_SIZE.get(kind) != dtype.itemsize:
            raise WireError(f"{_NAMES[number]} at byte {position} does not hold numbers")
        if value > position + 1:
            return np.frombuffer(self.view[value:after], dtype), after
        return _run(self.view, position, end, dtype)

    def _count_part(self, position: int) -> None:
        self.parts += 1
        if self.parts > MAX_PARTS:
            raise WireError(
                f"there are more than {MAX_PARTS} layers and blobs up to byte {position}, which no"
                " network has"
            )

    def _check_structure(self, size: int, position: int) -> None:
        if size > MAX_STRUCTURE:
            raise WireError(
                f"there are more than {MAX_STRUCTURE >> 20} MB besides the numbers up to byte"
                f" {position}, which no network has"
            )


def _raw_array(raw: memoryview, kind: int) -> np.ndarray:
    dtype = _RAW_TYPES.get(kind)
    if dtype is None or len(raw) % dtype.itemsize:
        raise WireError(
            f"raw_data of {len(raw)} bytes is of NVCaffe's type {kind}, which is unknown"
        )
    return np.frombuffer(raw, dtype)


def _run(view: memoryview, position: int, end: int, dtype: np.dtype) -> tuple[np.ndarray, int]:
    """Numbers that have a tag each, as a view that steps over the tags, and where they end."""
    step = 1 + dtype.itemsize
    most = (end - position) // step
    tags = np.frombuffer(view[position : position + most * step], np.uint8)[::step]
    count = 0
    while count < most:
        other = tags[count : count + _TAGS_AT_A_TIME] != tags[0]
        if other.any():
            count += int(other.argmax())
            break
        count += len(other)
    return np.ndarray((count,), dtype, view, position + 1, (step,)), position + count * step


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
