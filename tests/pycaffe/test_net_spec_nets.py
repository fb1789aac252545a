"""Networks written with NetSpec, put into a file as text and built from it."""

import tempfile

import numpy as np

import caffe_spn
import caffe_spn as caffe
from caffe_spn import layers as L
from caffe_spn import params as P


def build(net_proto):
    with tempfile.NamedTemporaryFile("w+") as file:
        file.write(str(net_proto))
        file.flush()
        return caffe.Net(file.name, caffe.TEST)


def digits(n):
    """Data, two convolutions with pooling, two inner products and a loss, as tops in order."""
    data, label = L.DummyData(
        shape=[dict(dim=[3, 1, 28, 28]), dict(dim=[3, 1, 1, 1])],
        transform_param=dict(scale=1.0 / 255),
        ntop=2,
    )
    tops = [("data", data), ("label", label)]
    bottom = data
    for number, width in enumerate((4, 6), 1):
        conv = L.Convolution(
            bottom, kernel_size=5, num_output=width, weight_filler=dict(type="xavier")
        )
        bottom = L.Pooling(conv, kernel_size=2, stride=2, pool=P.Pooling.MAX)
        tops += [(f"conv{number}", conv), (f"pool{number}", bottom)]
    ip1 = L.InnerProduct(bottom, num_output=12, weight_filler=dict(type="xavier"))
    relu1 = L.ReLU(ip1, in_place=True)
    ip2 = L.InnerProduct(relu1, num_output=10, weight_filler=dict(type="xavier"))
    loss = L.SoftmaxWithLoss(ip2, label)
    tops += [("ip1", ip1), ("relu1", relu1), ("ip2", ip2), ("loss", loss)]
    for name, top in tops if n is not None else ():
        n[name] = top
    return loss


def test_a_network_with_names():
    n = caffe.NetSpec()
    digits(n)
    net_proto = n.to_proto()
    relu = net_proto.layer[6]
    assert relu.bottom == relu.top == ["ip1"]
    net = build(net_proto)
    assert len(net.layers) == 9 and net.layer_dict["relu1"].type == "ReLU"
    assert np.isfinite(net.forward()["loss"])


def test_the_same_network_without_names():
    net_proto = digits(None).to_proto()
    assert net_proto.layer[6].bottom == net_proto.layer[6].top
    net = build(net_proto)
    assert list(net._layer_names)[-3:] == ["ReLU1", "InnerProduct2", "SoftmaxWithLoss1"]
    assert len(net.layers) == 9


def test_layers_without_tops():
    n = caffe.NetSpec()
    n.data, n.data2 = L.DummyData(shape=dict(dim=3), ntop=2)
    n.silence, n.silence2 = L.Silence(n.data, ntop=0), L.Silence(n.data2, ntop=0)
    assert build(n.to_proto()).forward() == {}


def test_a_type_of_ones_own_that_begins_with_a_small_letter(monkeypatch):
    monkeypatch.setattr("caffe_spn.layer._registry", dict(caffe_spn.layer._registry))

    @caffe.register("halve")
    class Halve(caffe.Layer):
        def reshape(self, bottom, top):
            top[0].reshape(*bottom[0].shape)

        def forward_cpu(self, bottom, top):
            top[0].data[...] = bottom[0].data / 2

    n = caffe.NetSpec()
    n.x = L.Input(shape=dict(dim=[2]))
    n.y = L.halve(n.x)
    assert build(n.to_proto()).forward(x=np.array([3, 5]))["y"].tolist() == [1.5, 2.5]
    assert not hasattr(L, "no_such_module")


def test_the_text_of_a_message_is_read_again():
    n = caffe.NetSpec()
    digits(n)
    first = n.to_proto()
    with tempfile.NamedTemporaryFile("w+") as file:
        file.write(str(first))
        file.flush()
        again = caffe.proto.text.read(file.name, caffe.proto.caffe_pb2.NetParameter)
    assert again == first
