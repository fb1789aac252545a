"""Prototxt files: read as strictly as Caffe reads them, with errors that show the place."""

import pytest

from caffe_spn.errors import PrototxtError
from caffe_spn.graph.upgrade import upgrade
from caffe_spn.proto import caffe_pb2, text
from tests import golden_cases as golden

CASES = golden.cases("text", "text_solver")


def definition(case):
    (name,) = [f for f in case["files"] if f.endswith(".prototxt") and ".canonical." not in f][:1]
    message = caffe_pb2.SolverParameter if case["kind"] == "text_solver" else caffe_pb2.NetParameter
    return golden.FOLDER / name, message


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.get("stage") == "parse"], ids=golden.case_id
)
def test_recorded_refusals(case):
    path, message = definition(case)
    with pytest.raises(PrototxtError) as caught:
        text.read(path, message)
    assert path.name in caught.value.where


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.get("stage") != "parse"], ids=golden.case_id
)
def test_recorded_definitions(case):
    path, message = definition(case)
    parsed = text.read(path, message)
    canonical = path.with_name(f"{case['name']}.canonical.prototxt")
    if canonical.exists():
        if message is caffe_pb2.NetParameter:
            parsed, _ = upgrade(parsed)
        assert text.to_text(parsed) == canonical.read_text()


def error_of(source, message=caffe_pb2.NetParameter):
    with pytest.raises(PrototxtError) as caught:
        text.parse(source, message(), "net.prototxt")
    return caught.value


def test_error_in_full():
    source = "layer {\n  relu_param { negative_slop: 0.1 }\n}\n"
    assert str(error_of(source)) == (
        "net.prototxt:2:16\n"
        "  ReLUParameter has no field 'negative_slop'\n"
        "      relu_param { negative_slop: 0.1 }\n"
        "                   ^\n"
        "  help: did you mean 'negative_slope'?"
    )


@pytest.mark.parametrize(
    "source, where, message, help",
    [
        ("layer { num_output: 1 }", "1:9", "no field 'num_output'", "inside convolution_param { }"),
        ("layer { interp_param { } }", "1:9", "no field 'interp_param'", "PSPNet"),
        (
            'layer { name: "a"\nlayer { }',
            "2:1",
            "no field 'layer'",
            "opened in line 1 is not closed",
        ),
        ('layer { name: "a"', "1:15", "text ends before the last '}'", "opened in line 1"),
        ("base_lr: 1", "1:1", "no field 'base_lr'", "belongs to a solver"),
        ("layer { phase: train }", "1:16", "train is not one of TRAIN, TEST", "write TRAIN"),
        ("layers { type: RELUU }", "1:16", "RELUU is not a LayerType", "write RELU"),
        ('name: "a" name: "b"', "1:17", "'name' is given twice in one NetParameter", "leave one"),
        ("name: a", "1:7", "a stands where a text in quotes should", "quotes"),
        ("name: ", "1:5", "the end of the text stands where a text in quotes should", "quotes"),
        ("layer", "1:1", "the end of the text stands where a block { } should", None),
        ("input_dim: 1.5", "1:12", "1.5 stands where an integer should", None),
        ("force_backward: yes", "1:17", "yes stands where true or false should", None),
        ("layer { loss_weight: x }", "1:22", "x stands where a number should", None),
        ("layer { convolution_param { num_output: -0 } }", "1:41", "- stands where an int", None),
        ("input_dim: 99999999999", "1:12", "99999999999 is out of the range", None),
        ("name { }", "1:6", "{ stands where a colon and a value should", None),
        ("5", "1:1", "5 stands where the name of a field should", "decimals with a point"),
        (r'name: "\377"', "1:7", "not UTF-8", "escapes"),
        ("\tname: x", "1:8", "x stands where", None),
    ],
)
def test_errors(source, where, message, help):
    error = error_of(source)
    assert error.where == f"net.prototxt:{where}"
    assert message in error.message
    assert help is None or help in error.help


def test_a_net_is_no_solver():
    error = error_of('layer { name: "a" }', caffe_pb2.SolverParameter)
    assert "this is a net, not a solver" in error.help


def test_missing_required_fields():
    error = error_of("layer { clip_param { min: 0 } }")
    assert error.message == "required fields are missing: layer[0].clip_param.max"


def test_long_line_is_shown_around_the_place():
    source = " ".join(f'input: "blob{i}"' for i in range(100)) + " oops: 1"
    line, caret = error_of(source).message.splitlines()[1:]
    assert len(line) <= 102
    assert line[caret.index("^") :].startswith("oops")


def test_place_survives_tabs():
    line, caret = error_of("\t\tname: x").message.splitlines()[1:]
    assert caret == "  \t\t      ^"
    assert line == "  \t\tname: x"


@pytest.mark.parametrize(
    "value, expected",
    [("- 1", -1), ("-\n# sign and number\n1", -1), ("-inf", -float("inf")), ("1f", 1)],
)
def test_floats_of_c_plus_plus(value, expected):
    layer = text.parse(f"loss_weight: {value}", caffe_pb2.LayerParameter())
    assert layer.loss_weight == [expected]


@pytest.mark.parametrize(
    "value, expected", [("0x1", True), ("00", False), ("t", True), ("False", False)]
)
def test_bools_of_c_plus_plus(value, expected):
    assert text.parse(f"debug_info: {value}", caffe_pb2.NetParameter()).debug_info is expected


def test_comments_may_be_in_any_encoding(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_bytes(b'# Gr\xf6\xdfe\nname: "n"\n')
    assert text.read(path, caffe_pb2.NetParameter).name == "n"


def test_read_errors(tmp_path):
    (tmp_path / "train.prototxt").write_text("")
    (tmp_path / "binary.prototxt").write_bytes(b"\x0a\x00\xff")
    for name, message, help in [
        ("trian.prototxt", "no such file", "train.prototxt?"),
        (".", "a directory", None),
        ("nowhere/net.prototxt", "no such file", "is not there"),
        ("binary.prototxt", "control character", "binary file"),
    ]:
        with pytest.raises(PrototxtError, match=message) as caught:
            text.read(tmp_path / name, caffe_pb2.NetParameter)
        assert help is None or help in caught.value.help


NET = """name: "n"  # layer { name: "b" }
layer { name: "a" type: "Input" top: "x" }
layer {
  type: "ReLU" bottom: "x"
  param { name: "c" }
  top: "y"
  name: "b"
}
layer: [ { name: "c" },
         { name: "b" type: "ReLU" top: ["z"] } ]
layers { layer { name: "old" type: "relu" } }
"""


@pytest.mark.parametrize(
    "layer, line",
    [
        ({"name": "a"}, 2),
        ({"name": "b", "type": "ReLU", "top": ["y"]}, 3),
        ({"name": "b", "type": "ReLU", "top": ["z"]}, 10),
        ({"name": "c"}, 9),
        ({"name": "old"}, 11),
        ({"name": "d"}, None),
    ],
)
def test_locate_layer(layer, line):
    assert text.locate_layer(NET, caffe_pb2.LayerParameter(**layer)) == line


def test_locate_layer_in_what_is_no_text():
    assert text.locate_layer("\0", caffe_pb2.LayerParameter(name="a")) is None
