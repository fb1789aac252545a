"""Reading numpydoc, and what the check finds wrong."""

import pytest

from docs.layer_reference import check, docstring
from docs.layer_reference.docstring import Entry
from docs.layer_reference.layers import Described

TEXT = '''y = x

    More about it,
    on two lines.

    Parameters (`relu_param`)
    -------------------------
    a, b : int, default 3
        Text.

        More text.
    c

    Notes
    -----
    Formula::

        y = x

        z = 2
    """'''


def test_read_takes_apart():
    doc = docstring.read(TEXT)
    assert doc.summary == "y = x"
    assert doc.body == "More about it,\non two lines."
    assert list(doc.sections) == ["Parameters (`relu_param`)", "Notes"]


def test_read_nothing():
    assert docstring.read(None) == ("", "", {})


def test_entries():
    section = docstring.read(TEXT).sections["Parameters (`relu_param`)"]
    assert docstring.entries(section) == [
        Entry(("a", "b"), "int, default 3", "Text.\n\nMore text."),
        Entry(("c",), "", ""),
    ]


@pytest.mark.parametrize(
    ("kind", "default", "rest"),
    [
        ("int, default 3", "3", "int"),
        ("float for each bottom, default 1", "1", "float for each bottom"),
        ('str, default ""', '""', "str"),
        ("bool, default true in the TEST phase, false in TRAIN", "true in the TEST phase", None),
        ("int", None, "int"),
        ("accepted and ignored", None, "accepted and ignored"),
    ],
)
def test_default(kind, default, rest):
    entry = Entry(("name",), kind, "")
    assert docstring.default(entry) == default
    if rest is not None:
        assert docstring.without_default(entry) == rest


def test_markdown_fences_indented_blocks_and_joins_paragraphs():
    text = "One\nparagraph::\n\n    code\n\n\n    more\n\nThe\nend."
    assert docstring.markdown(text) == "One paragraph:\n\n```\ncode\n\n\nmore\n```\n\nThe end."


@pytest.mark.parametrize(
    ("field", "problem"),
    [
        ("negative_slope : float, default 1", "states default 1 for 'negative_slope'; it is 0"),
        ("negative_slope : float", "states no default for 'negative_slope'; it is 0"),
        ("negative_slope : float, default 0", "says nothing about 'negative_slope'"),
        ("slope : float", "documents 'slope', which no message of it has"),
        ("engine : accepted and ignored", "does not document 'negative_slope' of ReLUParameter"),
        ("loss_param.normalize : bool", "does not document 'ignore_label' of LossParameter"),
    ],
)
def test_check_compares_with_the_message(field, problem):
    layer = Described("ReLU")
    layer.parameters = docstring.entries(field)
    assert f"layers/relu.py: ReLU {problem}" in check.problems(layer)


def test_check_wants_blobs_example_and_group():
    layer = Described("Softmax")
    layer.type = "Softmin"
    layer.doc.sections.clear()
    found = "\n".join(check.problems(layer))
    assert "bottom 'bottom' is not described" in found
    assert "has no Examples section" in found
    assert "is in no group" in found
