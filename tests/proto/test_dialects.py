"""Names of Caffe's forks, in errors."""

import pytest

from caffe_spn.errors import PrototxtError
from caffe_spn.layer import layer_class, layer_type_list
from caffe_spn.proto import caffe_pb2, text
from caffe_spn.proto.dialects import DIALECTS, field_help, type_help

CAFFE_FIELDS = {
    field.name
    for message in caffe_pb2.DESCRIPTOR.message_types_by_name.values()
    for field in message.fields
}


def test_no_name_is_caffes_and_none_comes_twice():
    fields = [name for dialect in DIALECTS for name in dialect.fields.split()]
    types = [name for dialect in DIALECTS for name in dialect.types.split()]
    assert not CAFFE_FIELDS & set(fields)
    assert not set(layer_type_list()) & set(types)
    for names in (fields, types):
        assert len(names) == len(set(names))
    for dialect in DIALECTS:
        assert set(dialect.instead) <= {*dialect.fields.split(), *dialect.types.split()}


@pytest.mark.parametrize(
    "source, help",
    [
        ("layer { permute_param { order: 0 } }", "'permute_param' belongs to the SSD fork"),
        ("layer { convolution_param { hole: 2 } }", "dilation says the same, or --extend"),
        ("layer { transform_param { resize_param { } } }", "the SSD fork"),
        ("layer { forward_type: FLOAT16 }", "NVCaffe"),
        ("layer { quantization_param { } }", "Ristretto and Intel's Caffe"),
        ("layer { multi_stage_meanfield_param { } }", "CRF-as-RNN"),
    ],
)
def test_fields_name_their_dialect(source, help):
    with pytest.raises(PrototxtError) as caught:
        text.parse(source, caffe_pb2.NetParameter())
    assert help in caught.value.help
    assert "docs/dialects.md" in caught.value.help


@pytest.mark.parametrize(
    "name, help",
    [
        ("Interp", "the DeepLab and PSPNet forks"),
        ("ROIPooling", "the Fast R-CNN fork"),
        ("ConvolutionDepthwise", 'type: "Convolution" with group equal to num_output'),
        ("BN", "BatchNorm, then Scale"),
        ("Poolin", "did you mean 'Pooling'?"),
        ("qqqq", "layer_type_list() names the types"),
    ],
)
def test_types_name_their_dialect(name, help):
    with pytest.raises(PrototxtError, match=f"unknown layer type '{name}'") as caught:
        layer_class(name)
    assert help in caught.value.help


def test_other_names_belong_to_nobody():
    assert field_help("relu_param") is None
    assert "belongs" not in type_help("ReLU", [])
