"""Checks of what a Net consists of, and of its weights."""

from collections import OrderedDict

import pytest

import caffe_spn as caffe
from caffe_spn.vectors import BlobVec, DtypeVec, IntVec, LayerVec, StringVec
from tests.pycaffe.lab import equal_weights, weights_of
from tests.pycaffe.registry import checks_of

CHECKS = {}
net = checks_of("Net", CHECKS)


# Net: what it consists of


@net("__init__")
def construct(lab):
    trained = lab.net()
    weights = lab.path("w.caffemodel")
    trained.save(weights)
    path = lab.path("net.prototxt")
    for made in (
        caffe.Net(path, weights, caffe.TEST),
        caffe.Net(path, caffe.TEST, 0, None, weights),
        caffe.Net(network_file=path, phase=caffe.TEST, level=0, stages=["a"], weights=weights),
    ):
        assert equal_weights(weights_of(made), weights_of(trained))
    with pytest.raises(RuntimeError, match="there is no such file"):
        caffe.Net(lab.path("none.prototxt"), caffe.TEST)


@net("blobs")
def blobs(lab):
    made = lab.trained()
    assert isinstance(made.blobs, OrderedDict) and made.blobs is made.blobs
    assert list(made.blobs) == ["data", "label", "conv", "score", "loss"]
    made.blobs["conv"].data[...] = 3
    assert (made.blobs["conv"].data == 3).all()


@net("blob_loss_weights")
def blob_loss_weights(lab):
    weights = lab.trained().blob_loss_weights
    assert isinstance(weights, OrderedDict)
    assert list(weights.items())[-2:] == [("score", 0), ("loss", 1)]


@net("layer_dict")
def layer_dict(lab):
    made = lab.trained()
    assert list(made.layer_dict) == list(made._layer_names)
    assert all(a is b for a, b in zip(made.layer_dict.values(), made.layers, strict=True))
    assert made.layer_dict["conv_relu"].type == "ReLU"


@net("params")
def params(lab):
    made = lab.trained()
    assert isinstance(made.params, OrderedDict) and list(made.params) == ["conv", "score"]
    assert isinstance(made.params["conv"], BlobVec)
    assert [tuple(b.shape) for b in made.params["conv"]] == [(3, 2, 3, 3), (3,)]
    made.params["conv"][1].data[...] = 7
    assert (made.layer_dict["conv"].blobs[1].data == 7).all()


@net("inputs", "outputs")
def inputs_and_outputs(lab):
    assert lab.trained().inputs == [] and lab.trained().outputs == ["loss"]
    assert lab.net().inputs == ["x"] and lab.net().outputs == ["y"]


@net("top_names", "bottom_names")
def top_and_bottom_names(lab):
    made = lab.trained()
    assert made.top_names == OrderedDict(
        data=["data", "label"], conv=["conv"], conv_relu=["conv"], score=["score"], loss=["loss"]
    )
    assert made.bottom_names == OrderedDict(
        data=[], conv=["data"], conv_relu=["conv"], score=["conv"], loss=["score", "label"]
    )


@net("layers")
def layers(lab):
    made = lab.trained().layers
    assert isinstance(made, LayerVec)
    assert [one.type for one in made][1:4] == ["Convolution", "ReLU", "InnerProduct"]
    assert len(made[1].blobs) == 2


# Net: weights


@net("save", "copy_from")
def save_and_copy_from(lab):
    made, other = lab.net(), lab.net()
    made.save(lab.path("w"))
    other.copy_from(lab.path("w"))
    assert equal_weights(weights_of(made), weights_of(other))
    # What a file is, is seen in its content, as in Caffe.
    made.params["fc"][0].data[...] = 5
    made.save_hdf5(lab.path("hdf5_without_suffix"))
    other.copy_from(lab.path("hdf5_without_suffix"))
    assert (other.params["fc"][0].data == 5).all()
    with pytest.raises(RuntimeError, match="there is no such file"):
        other.copy_from(lab.path("none.caffemodel"))


@net("save_hdf5", "load_hdf5")
def save_and_load_hdf5(lab):
    made, other = lab.trained(), lab.trained()
    made.save_hdf5(lab.path("w"))
    other.load_hdf5(lab.path("w"))
    assert equal_weights(weights_of(made), weights_of(other))


@net("share_with")
def share_with(lab):
    made, other = lab.net(), lab.net()
    other.share_with(made)
    made.params["fc"][0].data[...] = 3
    assert (other.params["fc"][0].data == 3).all()


# Net: private, but used


@net("_blobs", "_blob_names")
def blob_lists(lab):
    made = lab.trained()
    assert isinstance(made._blobs, BlobVec) and isinstance(made._blob_names, StringVec)
    assert all(made.blobs[n] is b for n, b in zip(made._blob_names, made._blobs, strict=True))


@net("_layer_names")
def layer_names(lab):
    names = lab.net()._layer_names
    assert isinstance(names, StringVec) and list(names) == ["x", "affine", "fc"]


@net("_inputs", "_outputs")
def input_and_output_ids(lab):
    made = lab.net()
    assert isinstance(made._inputs, IntVec) and isinstance(made._outputs, IntVec)
    assert list(made._inputs) == [0] and list(made._outputs) == [2]


@net("_top_ids", "_bottom_ids")
def ids_of_a_layer(lab):
    made = lab.trained()
    assert list(made._top_ids(0)) == [0, 1] and list(made._bottom_ids(0)) == []
    assert list(made._bottom_ids(4)) == [3, 1]
    assert isinstance(made._top_ids(0), IntVec)


@net("_blob_loss_weights")
def blob_loss_weight_list(lab):
    weights = lab.trained()._blob_loss_weights
    assert isinstance(weights, DtypeVec) and list(weights) == [0, 0, 0, 0, 1]
