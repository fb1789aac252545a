"""The message classes: built from the shipped descriptor, in a descriptor pool of their own."""

import copy
import pickle
import subprocess
import sys

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

from caffe_spn.proto import caffe_pb2
from caffe_spn.proto.compile import DESCRIPTOR, SOURCE, compile_proto


def test_descriptor_agrees_with_the_schema_text():
    shipped = descriptor_pb2.FileDescriptorProto.FromString(DESCRIPTOR.read_bytes())
    assert compile_proto(SOURCE.read_text(encoding="utf-8")) == shipped


def test_descriptor_agrees_with_protoc(tmp_path):
    protoc = pytest.importorskip("grpc_tools.protoc")
    out = tmp_path / "set.binpb"
    assert (
        protoc.main(["protoc", f"-I{SOURCE.parent}", f"--descriptor_set_out={out}", "caffe.proto"])
        == 0
    )
    (file,) = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
    for message in file.message_type:
        for field in message.field:
            field.ClearField("json_name")
    assert file == compile_proto(SOURCE.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "message, field, number, default",
    [
        ("BlobProto", "data", 5, None),
        ("LayerParameter", "gaterecurrent2dnoind_param", 162, None),
        ("LayerParameter", "spatial_propagation_param", 1000, None),
        ("SolverParameter", "delta", 31, 1e-8),
        ("PoolingParameter", "round_mode", 13, 0),
        ("MVNParameter", "eps", 3, 1e-9),
        ("V1LayerParameter", "param", 1001, None),
        ("ClipParameter", "min", 1, None),
    ],
)
def test_wire_facts(message, field, number, default):
    descriptor = getattr(caffe_pb2, message).DESCRIPTOR.fields_by_name[field]
    assert descriptor.number == number
    if default is not None:
        assert descriptor.default_value == pytest.approx(default, rel=1e-7)


def test_numbers_are_packed():
    blob = caffe_pb2.BlobProto(data=[1.0, 2.0])
    assert blob.SerializeToString() == b"\x2a\x08\x00\x00\x80\x3f\x00\x00\x00\x40"


def test_enums_are_where_protoc_puts_them():
    assert (caffe_pb2.TRAIN, caffe_pb2.TEST) == (0, 1)
    assert caffe_pb2.Phase.Name(1) == "TEST"
    assert caffe_pb2.PoolingParameter.AVE == caffe_pb2.PoolingParameter.PoolMethod.Value("AVE") == 1
    assert caffe_pb2.V1LayerParameter.THRESHOLD == 31
    assert caffe_pb2.LayerParameter.NAME_FIELD_NUMBER == 1


def test_defaults_of_our_own_messages():
    layer = caffe_pb2.LayerParameter()
    assert not layer.HasField("spatial_propagation_param")
    assert layer.spatial_propagation_param.units == 1
    assert layer.segmentation_patch_param.ignore_label == 255


def test_default_pool_knows_nothing_of_it():
    assert caffe_pb2.DESCRIPTOR.pool is not descriptor_pool.Default()
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("caffe.NetParameter")


def test_lives_beside_another_caffe():
    # A file of the same name with another schema in the default pool, as the real Caffe brings it.
    program = """
from google.protobuf import descriptor_pb2, descriptor_pool
other = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe")
other.message_type.add(name="NetParameter")
descriptor_pool.Default().AddSerializedFile(other.SerializeToString())
from caffe_spn.proto import caffe_pb2
assert caffe_pb2.NetParameter(name="n").name == "n"
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_copy_and_pickle():
    net = caffe_pb2.NetParameter(name="n")
    net.layer.add(name="a")
    assert copy.deepcopy(net) == net
    assert pickle.loads(pickle.dumps(net)) == net


@pytest.mark.parametrize(
    "source, error",
    [
        ("message A { optional Nothing x = 1; }", "'Nothing' of A.x"),
        ("message A { x = 1; }", "'x' in A"),
        ("service A {}", "'service' is neither"),
        ("message A { optional int32 x = 1 [lazy = true]; }", "'lazy' of x"),
        ("message A ( }", r"'\(' stands where '{' should"),
        ("message A { optional int32 x = 1 }\n%", "line 2: '%' is not expected"),
        ('syntax = "proto3";', "the syntax is 'proto3'"),
        ("message A { optional int32 x = one; }", "'one' stands where a number should"),
        ("message A { optional int32 1x = 1; }", "'1x' stands where a name should"),
        ("message A {", "'' in A"),
        ("message A { message B {} optional B.C x = 1; }", "type 'B.C' of A.x"),
        ("message A { optional int32 x 1; }", "'1' stands where '='"),
    ],
)
def test_compile_errors(source, error):
    with pytest.raises(SyntaxError, match=error):
        compile_proto(source)


def test_what_forks_write_besides():
    file = compile_proto(
        """
        syntax = 'proto2'; /* a comment
        of two lines */ package caffe; option optimize_for = SPEED;
        message Outer {
          reserved 4, 6 to 8;
          message Inner { enum Kind { A = 0; B = 0x1 [deprecated = true]; } };
          optional Inner.Kind kind = 1 [default = A];
          optional caffe.Outer.Inner inner = 2;
          optional Other other = 3;
          optional float value = 5 [default = 1.0, deprecated = true];
        }
        message Other { optional Outer.Inner.Kind kind = 1; }
        """
    )
    outer, other = file.message_type
    assert [field.type_name for field in outer.field] == [
        *(".caffe.Outer.Inner.Kind", ".caffe.Outer.Inner", ".caffe.Other", ""),
    ]
    assert other.field[0].type_name == ".caffe.Outer.Inner.Kind"
    assert [field.default_value for field in outer.field] == ["A", "", "", "1"]
