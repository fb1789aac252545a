"""The layer contract: roles, registry, what the base class checks."""

import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn.layer import create_layer, layer_class
from caffe_spn.proto import caffe_pb2
from caffe_spn.roles import Roles


@pytest.mark.parametrize(
    ("names", "accepted", "refused"),
    [
        (("x",), [1], [0, 2]),
        (("x", "label?"), [1, 2], [0, 3]),
        (("x+",), [1, 2, 9], [0]),
        (("x*",), [0, 5], []),
        ((), [0], [1]),
    ],
)
def test_roles_tell_how_many_blobs_are_allowed(names, accepted, refused):
    roles = Roles(names)
    assert all(roles.accepts(n) for n in accepted)
    assert not any(roles.accepts(n) for n in refused)


def test_wrong_number_of_blobs_names_the_roles():
    layer = create_layer(caffe_pb2.LayerParameter(name="e", type="EuclideanLoss"))
    with pytest.raises(caffe.PrototxtError, match=r"has 1 bottom\(s\); EuclideanLoss takes 2"):
        layer.check_arity([caffe.Blob()], [caffe.Blob()])


@pytest.mark.parametrize("kind", ["EuclideanLoss", "HingeLoss", "SoftmaxWithLoss", "Accuracy"])
def test_losses_and_measures_are_not_computed_in_place(kind):
    layer = create_layer(caffe_pb2.LayerParameter(name="l", type=kind))
    scores = caffe.Blob((2, 3))
    with pytest.raises(caffe.PrototxtError, match=f"{kind} cannot compute in place"):
        layer.check_arity([scores, caffe.Blob((2,))], [scores])


def test_unknown_type_names_the_nearest():
    with pytest.raises(caffe.PrototxtError, match="unknown layer type 'RELU'") as caught:
        layer_class("RELU")
    assert "did you mean 'ReLU'?" in str(caught.value)


def test_a_layer_can_be_registered_by_a_user():
    @caffe.register("TestDouble", bottoms=("x",), tops=("y",))
    class Double(caffe.Layer):
        def reshape(self, bottom, top):
            top[0].reshape(*bottom[0].shape)

        def forward_cpu(self, bottom, top):
            np.multiply(bottom[0].data, 2, out=top[0].data)

    layer = create_layer(caffe_pb2.LayerParameter(name="d", type="TestDouble"))
    bottom, top = caffe.Blob((2, 2)), caffe.Blob()
    bottom.data[...] = 3
    layer.reshape([bottom], [top])
    layer.forward([bottom], [top])
    assert (top.data == 6).all()


def test_workspace_is_allocated_once_and_grows():
    layer = caffe.Layer()
    small = layer.workspace("col", (2, 3))
    assert np.shares_memory(small, layer.workspace("col", (6,)))
    assert layer.workspace("col", (4, 5)).shape == (4, 5)


def test_axis_counts_from_the_back_and_is_checked():
    layer = caffe.Layer()
    blob = caffe.Blob((2, 3, 4))
    assert layer.axis(blob, -1) == 2
    with pytest.raises(caffe.ShapeError, match=r"axis 3 is out of range for a 3-D blob"):
        layer.axis(blob, 3)


def test_gradient_check_finds_a_wrong_gradient():
    class Wrong(caffe.Layer):
        def reshape(self, bottom, top):
            top[0].reshape(*bottom[0].shape)

        def forward(self, bottom, top):
            top[0].data[...] = bottom[0].data ** 2

        def backward(self, top, propagate_down, bottom):
            bottom[0].diff[...] = 3 * bottom[0].data * top[0].diff

    with pytest.raises(AssertionError, match=r"bottom 0, index .*backward gives"):
        caffe.check_gradients(Wrong(dtype=np.float64), [(2, 3)])
