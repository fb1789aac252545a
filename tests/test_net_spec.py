"""NetSpec: the same networks, names and order as pycaffe's, and errors that name the field."""

import copy
import textwrap

import pytest

import caffe_spn as caffe
from caffe_spn import layers as L
from caffe_spn import params as P
from caffe_spn.errors import PrototxtError
from caffe_spn.net_spec import Function, NetSpec, Top, assign_proto, param_name_dict, to_proto
from caffe_spn.proto import caffe_pb2, text


def prototxt(content):
    return textwrap.dedent(content).lstrip()


def names(proto):
    return [layer.name for layer in proto.layer]


# What a network becomes


def test_text_is_that_of_pycaffe():
    n = NetSpec()
    n.data, n.label = L.DummyData(
        shape=[dict(dim=[2, 1, 8, 8]), dict(dim=[2])], transform_param=dict(scale=0.25), ntop=2
    )
    n.conv = L.Convolution(
        n.data, kernel_size=5, num_output=3, weight_filler=dict(type="xavier"), name="first"
    )
    n.relu = L.ReLU(n.conv, in_place=True)
    n.loss = L.SoftmaxWithLoss(n.relu, n.label, loss_weight=2)
    assert text.to_text(n.to_proto()) == prototxt("""
        layer {
          name: "data"
          type: "DummyData"
          top: "data"
          top: "label"
          transform_param {
            scale: 0.25
          }
          dummy_data_param {
            shape {
              dim: 2
              dim: 1
              dim: 8
              dim: 8
            }
            shape {
              dim: 2
            }
          }
        }
        layer {
          name: "first"
          type: "Convolution"
          bottom: "data"
          top: "conv"
          convolution_param {
            num_output: 3
            kernel_size: 5
            weight_filler {
              type: "xavier"
            }
          }
        }
        layer {
          name: "relu"
          type: "ReLU"
          bottom: "conv"
          top: "conv"
        }
        layer {
          name: "loss"
          type: "SoftmaxWithLoss"
          bottom: "conv"
          bottom: "label"
          top: "loss"
          loss_weight: 2
        }
    """)


def test_layers_without_names_count_by_type():
    data, label = L.DummyData(ntop=2)
    first = L.InnerProduct(data, num_output=4)
    second = L.InnerProduct(L.ReLU(first, in_place=True), num_output=4)
    proto = to_proto(L.EuclideanLoss(second, label), L.Accuracy(second, label))
    assert names(proto) == [
        *("DummyData1", "InnerProduct1", "ReLU1", "InnerProduct2", "EuclideanLoss1", "Accuracy1")
    ]
    assert list(proto.layer[0].top) == ["DummyData1", "DummyData2"]
    assert list(proto.layer[3].bottom) == ["InnerProduct1"]
    assert names(second.to_proto()) == ["DummyData1", "InnerProduct1", "ReLU1", "InnerProduct2"]


def test_layers_stand_before_those_that_use_them():
    n = NetSpec()
    hidden = L.Input(shape=dict(dim=3))
    n.out = L.Sigmoid(hidden)
    n.other = L.TanH(hidden)
    assert names(n.to_proto()) == ["Input1", "out", "other"]


def test_a_layer_without_tops_is_its_own_handle():
    n = NetSpec()
    n.a, n.b = L.Input(shape=dict(dim=3), ntop=2)
    n.nothing = L.Silence(n.a, n.b, ntop=0)
    assert isinstance(n.nothing, Function)
    proto = n.to_proto()
    assert names(proto) == ["a", "nothing"] and not proto.layer[1].top
    assert names(to_proto(Top(L.Silence(ntop=0), 0))) == ["Silence1"]
    assert len(caffe.Net(proto, caffe.TEST).forward()) == 0


def test_the_network_builds():
    n = NetSpec()
    n.x = L.Input(shape=dict(dim=[1, 2, 4, 4]))
    n.relu = L.ReLU(n.x)
    assert caffe.Net(n.to_proto(), caffe.TEST).blobs["relu"].shape == (1, 2, 4, 4)


# Where parameters go


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: L.Pooling(pool=P.Pooling.AVE), "pooling_param { pool: AVE }"),
        (lambda: L.Pooling(pool="AVE"), "pooling_param { pool: AVE }"),
        (lambda: L.Pooling(pooling_param=dict(pad=1)), "pooling_param { pad: 1 }"),
        (lambda: L.Convolution(kernel_size=3), "convolution_param { kernel_size: 3 }"),
        (
            lambda: L.Convolution(kernel_size=(3, 5)),
            "convolution_param { kernel_size: 3 kernel_size: 5 }",
        ),
        (
            lambda: L.Deconvolution(convolution_param=dict(num_output=2)),
            "convolution_param { num_output: 2 }",
        ),
        (
            lambda: L.Scale(param=[dict(lr_mult=1), dict(lr_mult=2)], bias_term=True),
            "param { lr_mult: 1 } param { lr_mult: 2 } scale_param { bias_term: true }",
        ),
        (lambda: L.Data(include=dict(phase=caffe.TEST)), "include { phase: TEST }"),
        (
            lambda: L.Python(module="m", layer="Mine", param_str="3"),
            'python_param { module: "m" layer: "Mine" param_str: "3" }',
        ),
        (
            lambda: L.SpatialPropagation(connection=P.SpatialPropagation.ONE_WAY, units=2),
            "spatial_propagation_param { connection: ONE_WAY units: 2 }",
        ),
        (lambda: L.ReLU(param=[]), ""),
        (lambda: L.Whatever(phase=caffe.TEST), "phase: TEST"),
    ],
)
def test_parameters_reach_their_field(make, expected):
    layer = make().to_proto().layer[0]
    layer.ClearField("name")
    layer.ClearField("type")
    layer.ClearField("top")
    assert layer == text.parse(expected, caffe_pb2.LayerParameter())


def test_update_changes_a_layer_that_exists():
    n = NetSpec()
    n.x = L.Input(shape=dict(dim=1))
    n.conv = L.Convolution(n.x, num_output=3, kernel_size=1)
    n.update("conv", dict(num_output=5, name="renamed"))
    layer = n.to_proto().layer[1]
    assert layer.convolution_param.num_output == 5 and layer.name == "renamed"


def test_param_name_dict():
    found = param_name_dict()
    assert found["Convolution"] == "convolution" and found["LRN"] == "lrn"
    assert found["ImageData"] == "image_data"
    assert found["SpatialPropagation"] == "spatial_propagation"
    assert found["Transformation"] == "transform" and "Deconvolution" not in found


def test_assign_proto_takes_nested_values():
    net = caffe_pb2.NetParameter()
    assign_proto(net, "layer", [dict(name="a", top="x"), dict(name="b", top=["x", "y"])])
    assign_proto(net, "layer", dict(name="c"))
    assign_proto(net, "state", dict(level=2, stage="one"))
    assert names(net) == ["a", "b", "c"] and list(net.layer[1].top) == ["x", "y"]
    assert net.state.level == 2 and list(net.state.stage) == ["one"]


# The container


def test_netspec_is_a_mapping_of_tops():
    n = NetSpec()
    n["odd name"] = L.Input(shape=dict(dim=1))
    n.y = L.ReLU(n["odd name"])
    # Lists: generators go on with net[net.keys()[-1]].
    assert n.keys() == ["odd name", "y"] and n.vals() == [n["odd name"], n.y]
    del n["odd name"]
    assert names(n.to_proto()) == ["Input1", "y"]
    with pytest.raises(KeyError):
        getattr(n, "absent")  # noqa: B009
    assert copy.copy(n).tops == n.tops


def test_package_names():
    assert caffe.NetSpec is NetSpec and caffe.to_proto is to_proto
    assert caffe.params.Eltwise.MAX == caffe_pb2.EltwiseParameter.MAX
    assert caffe.layers.relu.ReLU.type == "ReLU"
    assert isinstance(caffe.layers.Convolution(), Top)
    with pytest.raises(AttributeError, match="no attribute 'no_such_module'"):
        getattr(caffe.layers, "no_such_module")  # noqa: B009


# Errors


def test_a_tuple_of_tops_is_no_top():
    data = L.DummyData(ntop=2)
    with pytest.raises(
        TypeError, match=r"^Silence input 0 is not a Top \(type is <class 'tuple'>\)$"
    ):
        L.Silence(data, ntop=0)


def test_unknown_parameter_names_layer_and_nearest_field():
    n = NetSpec()
    n.conv = L.Convolution(kernal_size=3)
    with pytest.raises(PrototxtError) as caught:
        n.to_proto()
    assert str(caught.value) == (
        "layer 'conv' (Convolution)\n"
        "  ConvolutionParameter has no field 'kernal_size'\n"
        "  help: did you mean 'kernel_size'?"
    )


def test_unknown_parameter_of_a_type_without_own_parameters():
    with pytest.raises(PrototxtError, match="LayerParameter has no field 'axiss'"):
        L.SoftmaxWithLoss(axiss=1).to_proto()


def test_parameter_of_a_fork_names_the_fork():
    with pytest.raises(PrototxtError, match=r"'hole' belongs to the DeepLab fork.*dilation says"):
        L.Convolution(hole=2).to_proto()


def test_parameter_of_a_type_that_is_not_known_says_where_the_type_is_from():
    with pytest.raises(PrototxtError, match=r"no field 'scale_filler'\n.*'Normalize' .* SSD fork"):
        L.Normalize(scale_filler=dict(value=20)).to_proto()
    with pytest.raises(PrototxtError, match=r"no field 'kernel_size'\n.*mean 'Convolution'"):
        L.Convolusion(kernel_size=3).to_proto()


def test_value_of_a_wrong_type_names_the_layer():
    with pytest.raises(PrototxtError, match=r"layer 'Convolution1' \(Convolution\)"):
        L.Convolution(num_output="many").to_proto()
