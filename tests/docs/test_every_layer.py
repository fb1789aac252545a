"""docs/layers/every-layer.md: its tables name all fields of the messages, with their defaults."""

import re

import pytest

from caffe_spn.filler import FILLERS
from caffe_spn.net import TRAIN, Net
from caffe_spn.proto import caffe_pb2, text
from docs.layer_reference.__main__ import FOLDER
from docs.layer_reference.check import true_default, value

PAGE = (FOLDER / "every-layer.md").read_text(encoding="utf-8")
MESSAGES = re.findall(r"^`(\w+(?:Parameter|Spec|Rule))`", PAGE, re.MULTILINE)


def table(message: str) -> dict[str, str]:
    """Field to default, from the first table below the message's name."""
    below = PAGE.split(f"\n`{message}`")[1]
    rows = below.split("| --- | --- | --- | --- |\n")[1].split("\n\n")[0].strip().split("\n")
    cells = [[cell.strip() for cell in row.split("|")] for row in rows]
    return {name: row[3] for row in cells for name in re.findall(r"`(\w+)`", row[1])}


def test_page_has_the_shared_messages():
    assert len(MESSAGES) == 6


@pytest.mark.parametrize("message", MESSAGES)
def test_tables_are_complete_and_right(message):
    stated = table(message)
    fields = getattr(caffe_pb2, message).DESCRIPTOR.fields
    assert list(stated) and set(stated) == {
        field.name for field in fields if not re.search("_param$", field.name)
    }
    for field in fields:
        if field.has_default_value:
            assert value(stated[field.name]) == value(true_default(field)), field.name


def test_fillers_are_all_there():
    rows = PAGE.split("| type | values |")[1].split("\n\n")[0]
    assert re.findall(r"^\| `(\w+)`", rows, re.MULTILINE) == list(FILLERS)


def test_example_builds():
    image = 'layer { type: "Input" top: "image" input_param { shape { dim: [2, 3, 5, 5] } } }'
    example = PAGE.split("```")[1]
    net = Net(text.parse(image + example, caffe_pb2.NetParameter(), "<page>"), TRAIN)
    assert net.blobs["conv1"].shape == (2, 16, 3, 3)
