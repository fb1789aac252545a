"""The pages of an LMDB file, read with every number checked against the file.

The library behind the package `lmdb` maps the file and trusts it: on a truncated file, or one with
a page of zeros, it ends the process with a signal. Training must get an exception instead, so
reading does not go through it. (Writing does.)

Source: the data format of LMDB 0.9 (`mdb.c`): pages of a B+ tree, little endian, 64-bit.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

_MAGIC, _FORMAT = 0xBEEFC0DE, 1
_NO_PAGE = 2**64 - 1

# Of a page: number, (unused), flags, and where the free space of a tree page starts and ends; an
# overflow page has a count of pages in the place of the last two.
_PAGE = struct.Struct("<QHHHH")
_BRANCH, _LEAF, _OVERFLOW = 0x01, 0x02, 0x04

# Of a node: low and high half of the size of its data, flags, size of its key.
_NODE = struct.Struct("<HHHH")
_NODE_OVERFLOW = 0x01

# Behind the header of the first two pages: magic, format, address, size of the map; two trees;
# last page, number of the transaction.
_META = struct.Struct("<IIQQ48s48sQQ")
_TREE = struct.Struct("<IHHQQQQQ")


class _Tree(NamedTuple):
    page_size: int  # of the first tree, that of free pages, only
    flags: int
    depth: int
    branch_pages: int
    leaf_pages: int
    overflow_pages: int
    entries: int
    root: int


class _Meta(NamedTuple):
    transaction: int
    page_size: int
    tree: _Tree
    last_page: int


class DamagedError(Exception):
    """What is wrong with the file."""


@dataclass(frozen=True)
class Leaf:
    """A page of records: its bytes, and where in it each record stands."""

    page: bytes
    offsets: tuple[int, ...]


class PageFile:
    """An LMDB file's tree of records.

    Parameters
    ----------
    path : str
        The file ``data.mdb``.

    Attributes
    ----------
    entries : int
        The number of records.

    Raises
    ------
    DamagedError
        If the file is no LMDB, or shorter than it says.
    OSError
        If it cannot be read.
    """

    def __init__(self, path: str):
        # Read, not mapped: reading past the end of a file is an error, in a map it is a signal.
        self._file = open(path, "rb", buffering=0)
        self._size = os.fstat(self._file.fileno()).st_size
        try:
            self._meta = self._newest_meta()
            self._page_size = self._meta.page_size
            whole = (self._meta.last_page + 1) * self._page_size
            if whole > self._size:
                raise DamagedError(
                    f"data.mdb has {self._size} bytes and should have {whole}; it was cut off"
                )
        except BaseException:
            self.close()
            raise
        self.entries = self._meta.tree.entries

    def close(self) -> None:
        self._file.close()

    def leaves(self) -> Iterator[Leaf]:
        """The pages of records, in the order of their keys."""
        root, depth = self._meta.tree.root, self._meta.tree.depth
        if root == _NO_PAGE:
            return
        # Each level: the children that are still to be visited, last one first.
        waiting = [[root]]
        while waiting:
            if not waiting[-1]:
                waiting.pop()
                continue
            number = waiting[-1].pop()
            if len(waiting) > depth:
                raise DamagedError(f"page {number} lies deeper than the tree's {depth} levels")
            page, flags, offsets = self._tree_page(number)
            if flags & _LEAF:
                yield Leaf(page, offsets)
            else:
                waiting.append([self._child(page, offset) for offset in reversed(offsets)])

    def record(self, leaf: Leaf, index: int) -> tuple[bytes, bytes]:
        """Key and value of one record of a leaf."""
        offset = leaf.offsets[index]
        low, high, flags, key_size = _NODE.unpack_from(leaf.page, offset)
        key_end = offset + _NODE.size + key_size
        key = leaf.page[offset + _NODE.size : key_end]
        size = low | high << 16
        if flags == 0 and key_end + size <= len(leaf.page):
            return key, leaf.page[key_end : key_end + size]
        if flags != _NODE_OVERFLOW or key_end + 8 > len(leaf.page):
            raise DamagedError("a record is no plain pair of key and value")
        return key, self._overflow(int.from_bytes(leaf.page[key_end : key_end + 8], "little"), size)

    def _newest_meta(self) -> _Meta:
        """Transactions write the two headers in turn."""
        first = self._read_meta(0)
        if first is None:
            raise DamagedError("data.mdb does not begin as an LMDB file does")
        if first.page_size not in (2**k for k in range(8, 17)):
            raise DamagedError(f"data.mdb says that its pages have {first.page_size} bytes")
        second = self._read_meta(first.page_size)
        if second is None:
            raise DamagedError("the second of data.mdb's two headers is damaged")
        newest = max(first, second, key=lambda meta: meta.transaction)
        return newest._replace(page_size=first.page_size)

    def _read_meta(self, offset: int) -> _Meta | None:
        content = self._read(offset + _PAGE.size, _META.size)
        if len(content) < _META.size:
            return None
        magic, version, _, _, free, main, last_page, transaction = _META.unpack(content)
        if magic != _MAGIC:
            return None
        if version != _FORMAT:
            raise DamagedError(f"data.mdb is of LMDB's data format {version}, not {_FORMAT}")
        page_size = _Tree._make(_TREE.unpack(free)).page_size
        return _Meta(transaction, page_size, _Tree._make(_TREE.unpack(main)), last_page)

    def _tree_page(self, number: int) -> tuple[bytes, int, tuple[int, ...]]:
        page = self._pages(number, 1)
        stated, _, flags, lower, upper = _PAGE.unpack_from(page)
        nodes = (lower - _PAGE.size) // 2
        if (
            stated != number
            or flags & 0xF not in (_BRANCH, _LEAF)
            or nodes < 1
            or not lower <= upper <= len(page)
        ):
            raise DamagedError(f"page {number} is damaged")
        offsets = struct.unpack_from(f"<{nodes}H", page, _PAGE.size)
        if min(offsets) < upper or max(offsets) + _NODE.size > len(page):
            raise DamagedError(f"page {number} is damaged")
        return page, flags, offsets

    @staticmethod
    def _child(page: bytes, offset: int) -> int:
        low, high, highest, _ = _NODE.unpack_from(page, offset)
        return low | high << 16 | highest << 32

    def _overflow(self, number: int, size: int) -> bytes:
        stated, _, flags, low, high = _PAGE.unpack(self._pages(number, 1)[: _PAGE.size])
        pages = low | high << 16
        room = pages * self._page_size - _PAGE.size
        if stated != number or flags & 0xF != _OVERFLOW or size > room:
            raise DamagedError(f"page {number} is damaged")
        if number + pages > self._meta.last_page + 1:
            raise DamagedError(f"a value in page {number} goes beyond the end of the file")
        value = self._read(number * self._page_size + _PAGE.size, size)
        if len(value) < size:
            raise DamagedError("data.mdb has become shorter")
        return value

    def _pages(self, number: int, count: int) -> bytes:
        if not 2 <= number <= self._meta.last_page:
            raise DamagedError(f"there is no page {number}")
        content = self._read(number * self._page_size, count * self._page_size)
        if len(content) < count * self._page_size:
            raise DamagedError("data.mdb has become shorter")
        return content

    def _read(self, offset: int, size: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(size)
