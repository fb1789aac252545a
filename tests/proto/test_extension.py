"""A fork's messages merged into the schema, and what is refused."""

import pytest

from caffe_spn.errors import PrototxtError
from caffe_spn.proto import caffe_pb2, text
from caffe_spn.proto.compile import SOURCE
from caffe_spn.proto.extension import extend_schema
from tests.extensions import extensible

__all__ = ["extensible"]

FORK = """
message LayerParameter {
  reserved 143;
  optional InterpParameter interp_param = 143;
  optional Old.Kind kind = 2000 [default = B];
}
message InterpParameter {
  optional int32 zoom_factor = 3 [default = 1];
  optional bool align = 4;
  optional FillerParameter filler = 5;
}
message Old { enum Kind { A = 0; B = 1; } message Inner { optional uint32 n = 1; } }
message ConvolutionParameter { optional bool quantized = 100; }
enum Phase { VALIDATE = 2; }
"""


def extend(folder, source, name="fork.proto"):
    (folder / name).write_text(source)
    extend_schema(folder / name)


def net(source):
    return text.parse(source, caffe_pb2.NetParameter())


def test_names_numbers_and_defaults(extensible):
    before = caffe_pb2.NetParameter
    extend(extensible, FORK)
    assert caffe_pb2.NetParameter is not before
    read = net(
        "layer { interp_param { zoom_factor: 2 align: 0x1 filler { value: 3 } } kind: A "
        "phase: VALIDATE convolution_param { quantized: true } input_param { shape { } } }"
    ).layer[0]
    assert read.interp_param.align is True
    assert read.phase == caffe_pb2.VALIDATE == 2
    assert caffe_pb2.LayerParameter().kind == caffe_pb2.Old.B
    assert caffe_pb2.InterpParameter().zoom_factor == 1
    data = caffe_pb2.LayerParameter(interp_param={"zoom_factor": 7}).SerializeToString()
    assert data == b"\xfa\x08\x02\x18\x07"  # field 143
    assert caffe_pb2.LayerParameter.FromString(data).interp_param.zoom_factor == 7
    assert text.to_text(net("layer { kind: A }")) == "layer {\n  kind: A\n}\n"


def test_twice_is_once(extensible):
    extend(extensible, FORK)
    schema = caffe_pb2.DESCRIPTOR.serialized_pb
    extend(extensible, FORK)
    assert caffe_pb2.DESCRIPTOR.serialized_pb == schema


def test_caffes_own_file_is_no_clash(extensible):
    schema = caffe_pb2.DESCRIPTOR.serialized_pb
    extend_schema(SOURCE)
    assert caffe_pb2.DESCRIPTOR.serialized_pb == schema


def test_whole_file_of_a_fork(extensible):
    """With its numbers reserved in a file of their own."""
    fork = SOURCE.read_text().replace(
        "optional InputParameter input_param = 143;", "optional InterpParameter interp_param = 143;"
    )
    fork += "message InterpParameter { optional int32 height = 1; }"
    with pytest.raises(PrototxtError, match="number 143 of LayerParameter is taken"):
        extend(extensible, fork)
    extend(extensible, "message LayerParameter { reserved 143, 147 to 148; }", "numbers.proto")
    with pytest.raises(PrototxtError, match="its number is 1000148, here it is 148"):
        extend(extensible, fork)
    kept = [line for line in fork.split("\n") if " = 147;" not in line and " = 148;" not in line]
    extend(extensible, "\n".join(kept))
    assert net("layer { interp_param { height: 2 } swish_param { beta: 1 } input_param { } }")


def test_messages_from_before_are_taken(extensible):
    from caffe_spn.graph.upgrade import upgrade

    before = net('layer { name: "a" type: "ReLU" }')
    extend(extensible, FORK)
    after, _ = upgrade(before)
    assert isinstance(after, caffe_pb2.NetParameter)
    assert after.layer[0].name == "a"


def test_mistakes_in_nested_messages_are_explained(extensible):
    extend(extensible, "message Outer { message In { enum E { A = 0; } optional E e = 1; } }\n"
           "message LayerParameter { optional Outer.In outer_param = 5000; }")  # fmt: skip
    for source, finding in (
        ("layer { outer_param { f: A } }", "Outer.In has no field 'f'"),
        ("layer { outer_param { e: C } }", "C is not one of A"),
        ("layer { outer_param { e: A e: A } }", "'e' is given twice in one Outer.In"),
    ):
        with pytest.raises(PrototxtError) as caught:
            net(source)
        assert caught.value.message.startswith(finding)


LAYER = "message LayerParameter {\n  "
REFUSED = [
    (LAYER + "optional float x = 148; }", 2, "number 148 of LayerParameter is taken", "reserved"),
    (
        LAYER + "optional A a = 5000;\noptional B b = 5000; } message A {} message B {}",
        3,
        "number 5000 of LayerParameter is taken: it is that of 'a'",
        "reserved",
    ),
    (LAYER + "optional float clip_param = 999; }", 2, "type is ClipParameter, here it is float",
     "another name"),
    (LAYER + "repeated string name = 1; }", 2, "label is optional, here it is repeated", "another"),
    (LAYER + "optional string name = 999; }", 2, "number is 1, here it is 999", "another name"),
    ("message ReLUParameter {\n\n optional float negative_slope = 1 [default = 0.1]; }", 3,
     "default of 'negative_slope' in ReLUParameter is 0 in Caffe, here it is 0.1", "prototxt"),
    (LAYER + "optional Nothing x = 999; }", 2, "type 'Nothing' of LayerParameter.x is not known",
     "write its message"),
    ("enum Phase { TRAIN = 1; }", 1, "TRAIN = 1 in Phase: Caffe has TRAIN = 0", "leave this one"),
    ("enum Phase {\n OTHER = 1; }", 2, "OTHER = 1 in Phase: Caffe has TEST = 1", "leave this one"),
    ("message A {\n optional float x 1; }", 2, "'1' stands where '=' should", "proto2"),
    ("\n%", 2, "'%' is not expected", "proto2"),
    ('\n\nimport "other.proto";', 3, "'import' is neither enum nor message", "proto2"),
    ("message Z { optional float a = 1; optional float b = 1; }", None, "makes no schema", None),
    ("message Z { optional float a = 0; }", None, "makes no schema", None),
]  # fmt: skip


@pytest.mark.parametrize("source, line, finding, help", REFUSED)
def test_refused_with_the_place(source, line, finding, help, extensible):
    schema = caffe_pb2.DESCRIPTOR
    with pytest.raises(PrototxtError) as caught:
        extend(extensible, source)
    assert finding in caught.value.message
    assert caught.value.where == f"{extensible}/fork.proto" + (f":{line}" if line else "")
    assert help is None or help in caught.value.help
    assert caffe_pb2.DESCRIPTOR is schema


def test_no_such_file(extensible):
    with pytest.raises(PrototxtError, match="there is no such file"):
        extend_schema("nothing.proto")


def test_the_pool_stays_private(extensible):
    from google.protobuf import descriptor_pool

    extend(extensible, FORK)
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("caffe.InterpParameter")
