"""Tokens of the text format: what C++ protobuf takes, and what it refuses."""

import pytest

from caffe_spn.proto.lexer import LexicalError, line_and_column, tokens


def normals(text):
    return [token.normal for token in tokens(text)]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a: 1", ["a", ":", "1"]),
        ("a{b<c>}", ["a", "{", "b", "<", "c", ">", "}"]),
        ("# comment\na # another", ["a"]),
        ("010 0x1F 0X1f 0", ["0x8", "0x1f", "0x1f", "0"]),
        ("1. .5 1e5 2E-3 1f 2.5F 0.5", ["1.", ".5", "1e5", "2E-3", "1.0", "2.5", "0.5"]),
        (r'"\x41\101\u00e9"', [r'"AA\303\251"']),
        (r'"\ud83d\ude00"', [r'"\360\237\230\200"']),
        (r'"\?"' + r" '\"'", ['"?"', r'"\""']),
        ("- 1", ["-", "1"]),
        ("\t\r\n\v\fa", ["a"]),
        ("", []),
        ("# latin-1 \udce9", []),
    ],
)
def test_tokens(text, expected):
    assert normals(text) == expected


@pytest.mark.parametrize(
    "text, message, column",
    [
        ("a: +1", "no plus sign", 4),
        ("a: 08", "octal", 4),
        ("a: 1_0", "space is missing between '1' and '_'", 5),
        ("a: 0b1", "space is missing between '0' and 'b'", 5),
        ("a: 1u", "space is missing", 5),
        ("a: 01.5", "has no fraction", 6),
        ("a: 0x1.5", "has no fraction", 7),
        ("a: 1.2.3", "second decimal point", 7),
        ("a: 1e", "no exponent", 4),
        ("a: 0x", "hexadecimal digits", 4),
        ("a: inff", "not a number", 4),
        ('a: "b', "does not end on its line", 4),
        ('a: "b\nc"', "does not end on its line", 4),
        (r'a: "\q"', "no escape sequence", 5),
        (r'a: "\u12"', "no escape sequence", 5),
        ('a: "\udce9"', "not UTF-8", 5),
        ("a\u00a0b", "only in strings and comments", 2),
        ("\udce9", "a byte that is not UTF-8", 1),
        ("\ufeffa", "byte order mark", 1),
        ("a\0", "control character", 2),
        ("# a\0", "control character", 4),
        ("a // b", "a comment starts with #", 3),
    ],
)
def test_refused(text, message, column):
    with pytest.raises(LexicalError, match=message) as caught:
        list(tokens(text))
    assert caught.value.offset == column - 1


def test_line_and_column():
    text = "ab\ncd\n"
    assert [line_and_column(text, i) for i in (0, 1, 3, 4)] == [(1, 1), (1, 2), (2, 1), (2, 2)]
