"""Cut prototxt text into tokens, as strictly as Caffe (C++ protobuf) does.

Python's `text_format` takes some text that Caffe refuses (``+1``, ``1_000``, ``0b11``, ``01.5``,
unknown escapes, non-breaking spaces) and refuses some that Caffe takes (``- 1``, ``0x1`` for a
bool, ``\\u00e9``, comments that are not UTF-8). This lexer settles both: what it refuses is an
error, and `Token.normal` spells a token so that `text_format` reads it as Caffe would.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from google.protobuf import text_encoding

# C++ protobuf's white space: \s would also match non-breaking and other Unicode spaces.
_SKIP = re.compile(r"(?:[ \t\r\n\v\f]+|#[^\n\0]*)*")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER = re.compile(
    r"(?P<hex>0[xX][0-9a-fA-F]*)|(?P<octal>0[0-9]+)"
    r"|(?P<decimal>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]*)?)(?P<suffix>[fF]?)"
)
_STRING = re.compile(r""""(?:[^"\\\n\0]|\\[^\n\0])*"|'(?:[^'\\\n\0]|\\[^\n\0])*'""")
_ESCAPE = re.compile(
    r"\\(?:(?P<octal>[0-7]{1,3})|[xX](?P<hex>[0-9a-fA-F]{1,2})"
    r"|u(?P<high>[dD][89abAB][0-9a-fA-F]{2})\\u(?P<low>[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|u(?P<short>[0-9a-fA-F]{4})|U(?P<long>[0-9a-fA-F]{8})|(?P<simple>[abfnrtv\\?'\"])|(?P<bad>.))"
)
_SIMPLE = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}
# Python's text_format reads these as numbers, Caffe does not.
_NOT_NUMBERS = frozenset(("inff", "infinityf", "nanf"))


class Token(NamedTuple):
    """One token: how it is written, where, and how `text_format` should see it."""

    kind: str
    """``identifier``, ``integer``, ``float``, ``string`` or ``symbol``."""
    text: str
    normal: str
    offset: int


class LexicalError(Exception):
    """Characters that are no token of the text format."""

    def __init__(self, message: str, offset: int, help: str | None = None):
        super().__init__(message)
        self.message = message
        self.offset = offset
        self.help = help


def tokens(text: str) -> Iterator[Token]:
    """Yield the tokens of `text`, without white space and comments.

    Parameters
    ----------
    text : str
        The definition. Bytes that were not UTF-8 are expected as surrogates (error handler
        ``surrogateescape``): they are allowed in comments, as in Caffe, and nowhere else.

    Raises
    ------
    LexicalError
        With the offset of the character that does not fit.
    """
    position = _SKIP.match(text).end()
    while position < len(text):
        character = text[position]
        if character in "\"'":
            token = _string(text, position)
        elif character.isascii() and (character.isalpha() or character == "_"):
            token = _identifier(text, position)
        elif character in "0123456789" or re.match(r"\.[0-9]", text[position : position + 2]):
            token = _number(text, position)
        else:
            token = _symbol(text, position)
        yield token
        position = _SKIP.match(text, position + len(token.text)).end()


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """Line and column, both from 1, of a place in the text."""
    return text.count("\n", 0, offset) + 1, offset - (text.rfind("\n", 0, offset) + 1) + 1


def _identifier(text: str, position: int) -> Token:
    word = _IDENTIFIER.match(text, position)[0]
    if word.lower() in _NOT_NUMBERS:
        raise LexicalError(f"{word!r} is not a number", position)
    return Token("identifier", word, word, position)


def _number(text: str, position: int) -> Token:
    match = _NUMBER.match(text, position)
    written, end = match[0], match.end()
    following = text[end : end + 1]
    if match["hex"] and len(written) == 2:
        raise LexicalError(f"{written!r} must be followed by hexadecimal digits", position)
    if match["octal"] and set(written) & {"8", "9"}:
        raise LexicalError(
            f"{written!r} starts with a zero, so it is octal, and 8 and 9 are no octal digits",
            position,
            help="leave the leading zero out",
        )
    if match["decimal"] and not match["decimal"][-1].isdigit() and match["decimal"][-1] != ".":
        raise LexicalError(f"{written!r} has no exponent after the e", position)
    if following == ".":
        kind = "a hexadecimal or octal number has no fraction"
        raise LexicalError(kind if not match["decimal"] else "a second decimal point", end)
    if following.isascii() and (following.isalpha() or following == "_"):
        raise LexicalError(f"a space is missing between {written!r} and {following!r}", end)
    if match["hex"]:
        return Token("integer", written, written.lower(), position)
    if match["octal"]:
        # As hexadecimal, which text_format, like Caffe, does not take for a float field.
        return Token("integer", written, hex(int(written, 8)), position)
    if written.isdigit():
        return Token("integer", written, written, position)
    # Not 1 for 1f: Caffe takes that for a float field only.
    normal = f"{match['decimal']}.0" if match["decimal"].isdigit() else match["decimal"]
    return Token("float", written, normal, position)


def _string(text: str, position: int) -> Token:
    match = _STRING.match(text, position)
    if match is None:
        raise LexicalError(
            "this string does not end on its line",
            position,
            help=f"close it with {text[position]}, or write a line break as \\n",
        )
    written = match[0]
    unreadable = re.search("[\udc80-\udcff]", written)
    if unreadable:
        raise LexicalError(
            "this string is not UTF-8", position + unreadable.start(), help="save the file as UTF-8"
        )
    normal = text_encoding.CEscape(_unescape(written[1:-1], position + 1), False)
    return Token("string", written, f'"{normal}"', position)


def _unescape(body: str, offset: int) -> bytes:
    if "\\" not in body:
        return body.encode("utf-8")
    out, position = bytearray(), 0
    for match in _ESCAPE.finditer(body):
        out += body[position : match.start()].encode("utf-8")
        position = match.end()
        point = match["short"] or match["long"]
        if match["octal"]:
            out.append(int(match["octal"], 8) & 0xFF)
        elif match["hex"]:
            out.append(int(match["hex"], 16))
        elif match["simple"]:
            out.append(_SIMPLE.get(match["simple"], ord(match["simple"])))
        elif match["high"]:
            pair = chr(int(match["high"], 16)) + chr(int(match["low"], 16))
            out += pair.encode("utf-16", "surrogatepass").decode("utf-16").encode("utf-8")
        elif point and int(point, 16) <= 0x10FFFF and not 0xD800 <= int(point, 16) < 0xE000:
            out += chr(int(point, 16)).encode("utf-8")
        else:
            raise LexicalError(
                f"{match[0]!r} is no escape sequence",
                offset + match.start(),
                help="write a backslash itself as \\\\",
            )
    return bytes(out + body[position:].encode("utf-8"))


def _symbol(text: str, position: int) -> Token:
    character = text[position]
    if character == "\ufeff":
        raise LexicalError(
            "the file starts with a byte order mark, which Caffe does not read",
            position,
            help="save it as UTF-8 without a byte order mark",
        )
    if not character.isascii():
        name = "a byte that is not UTF-8" if "\udc80" <= character <= "\udcff" else repr(character)
        raise LexicalError(
            f"{name} can stand only in strings and comments",
            position,
            help="look for a non-breaking space or typographic quotes, pasted from a document",
        )
    if not character.isprintable():
        raise LexicalError(f"control character {character!r} in the text", position)
    if character == "+":
        raise LexicalError("a number has no plus sign", position, help="leave the '+' out")
    if character == "/":
        raise LexicalError("a comment starts with #", position, help="write # instead of /")
    return Token("symbol", character, character, position)
