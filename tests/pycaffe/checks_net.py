"""Checks of Net, Blob and Layer."""

from collections import OrderedDict

import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn.vectors import BlobVec, DtypeVec, IntVec, LayerVec, StringVec
from tests.pycaffe.lab import DEPLOYED, FROM_MEMORY, equal_weights, weights_of
from tests.pycaffe.registry import checks_of

CHECKS = {}
net = checks_of("Net", CHECKS)
blob = checks_of("Blob", CHECKS)
layer = checks_of("Layer", CHECKS)


def is_copy(blobs, arrays):
    return all(np.array_equal(b.data, a) for b, a in zip(blobs, arrays, strict=True))


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


# Net: running


@net("forward")
def forward(lab):
    made = lab.net()
    x = np.arange(6).reshape(2, 3)
    out = made.forward(["affine"], x=x)
    assert set(out) == {"y", "affine"}
    np.testing.assert_array_equal(out["affine"], 2 * x + 1)
    assert np.shares_memory(out["y"], made.blobs["y"].data)
    assert set(made.forward(end="affine")) == {"affine"}
    made.blobs["affine"].data[...] = 0
    assert not made.forward(start="fc", end="fc")["y"].any()
    with pytest.raises(Exception, match=r"^Input blob arguments do not match net inputs\.$"):
        made.forward(z=x)
    with pytest.raises(Exception, match=r"^Input is not batch sized$"):
        made.forward(x=np.zeros((3, 3)))
    with pytest.raises(ValueError, match="'none' is not in list"):
        made.forward(start="none")


@net("backward")
def backward(lab):
    made = lab.net()
    made.forward()
    diff = np.array([[1, 2, 3], [0, 0, 1]], np.float32)
    out = made.backward(["affine"], y=diff)
    weights = made.params["fc"][0].data
    np.testing.assert_allclose(out["affine"], diff @ weights, rtol=1e-5)
    np.testing.assert_allclose(out["x"], 2 * diff @ weights, rtol=1e-5)
    made.blobs["affine"].diff[...] = 5
    assert set(made.backward(start="affine", end="affine")) == {"x"}
    assert (made.blobs["x"].diff == 10).all()
    with pytest.raises(Exception, match=r"^Top diff arguments do not match net outputs\.$"):
        made.backward(affine=diff)
    with pytest.raises(Exception, match=r"^Diff is not batch sized$"):
        made.backward(y=np.zeros((5, 3)))


@net("forward_all")
def forward_all(lab):
    made = lab.net()
    x = np.random.default_rng(0).random((5, 3))
    out = made.forward_all(["affine"], x=x)
    np.testing.assert_allclose(out["affine"], 2 * x + 1, rtol=1e-6)
    last = made.forward(x=x[[4, 4]])["y"][0]
    assert out["y"].shape == (5, 3) and np.allclose(out["y"][4], last, rtol=1e-6)


@net("forward_backward_all")
def forward_backward_all(lab):
    made = lab.net()
    x, y = np.random.default_rng(0).random((2, 5, 3))
    outs, diffs = made.forward_backward_all(["affine"], ["affine"], x=x, y=y)
    assert set(outs) == {"y", "affine"} and set(diffs) == {"x", "affine"}
    weights = made.params["fc"][0].data
    np.testing.assert_allclose(diffs["x"], 2 * y @ weights, rtol=1e-4)
    np.testing.assert_allclose(outs["y"], (2 * x + 1) @ weights.T, rtol=1e-4)


@net("_forward")
def forward_by_index(lab):
    made = lab.trained()
    loss = made._forward(0, len(made.layers) - 1)
    assert isinstance(loss, float) and loss == pytest.approx(float(made.blobs["loss"].data))
    assert made._forward(0, 1) == 0


@net("_backward")
def backward_by_index(lab):
    made = lab.net()
    made.forward()
    made.blobs["affine"].diff[...] = 1
    assert made._backward(1, 0) is None
    assert (made.blobs["x"].diff == 2).all()


@net("_batch")
def batch(lab):
    made = lab.net()
    arrays = np.arange(15).reshape(5, 3)
    batches = list(made._batch({"x": arrays}))
    assert [len(b["x"]) for b in batches] == [2, 2, 2]
    np.testing.assert_array_equal(batches[2]["x"], [[12, 13, 14], [0, 0, 0]])
    assert [len(b["other"]) for b in made._batch({"other": arrays})] == [2, 2, 2]


@net("set_input_arrays", "_set_input_arrays")
def set_input_arrays(lab):
    made = lab.net(FROM_MEMORY)
    data = np.random.default_rng(0).random((4, 1, 2, 3)).astype(np.float32)
    labels = np.arange(4, dtype=np.float32)
    made.set_input_arrays(data, labels)
    for part in (data[:2], data[2:], data[:2]):
        np.testing.assert_array_equal(made.forward()["twice"], 2 * part)
    assert made.blobs["label"].data.ravel().tolist() == [0, 1]
    with pytest.raises(RuntimeError, match="float32"):
        made.set_input_arrays(data.astype(float), labels)
    with pytest.raises(RuntimeError, match="multiple of batch_size"):
        made._set_input_arrays(data[:3], labels[:3, None, None, None])
    with pytest.raises(RuntimeError, match="first layer is MemoryData"):
        lab.net().set_input_arrays(data, labels)


@net("reshape")
def reshape(lab):
    made = lab.net()
    made.blobs["x"].reshape(7, 3)
    made.reshape()
    assert made.blobs["y"].data.shape == (7, 3)


@net("clear_param_diffs")
def clear_param_diffs(lab):
    made = lab.trained()
    made.forward()
    made.backward()
    diff = made.params["conv"][0].diff
    assert diff.any()
    made.clear_param_diffs()
    assert not diff.any()


@net("before_forward", "after_forward", "before_backward", "after_backward")
def callbacks(lab):
    made = lab.net()
    calls = []
    for event in ("before_forward", "after_forward", "before_backward", "after_backward"):
        getattr(made, event)(lambda index, event=event: calls.append((event, index)))
    made.forward()
    made.backward()
    names = ("forward", "backward")
    assert calls == [
        (f"{when}_{name}", index)
        for name, order in zip(names, ([0, 1, 2], [2, 1, 0]), strict=True)
        for index in order
        for when in ("before", "after")
    ]


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


# Blob


@blob("shape", "num", "channels", "height", "width", "count")
def dimensions(lab):
    made = lab.trained()
    data, bias = made.blobs["data"], made.params["conv"][1]
    assert list(data.shape) == [4, 2, 5, 6] and data.count == 240
    assert (data.num, data.channels, data.height, data.width) == (4, 2, 5, 6)
    assert list(bias.shape) == [3] and (bias.num, bias.channels, bias.width) == (3, 1, 1)
    assert list(made.blobs["loss"].shape) == [] and made.blobs["loss"].count == 1


@blob("data", "diff")
def arrays(lab):
    found = lab.trained().blobs["score"]
    for part in ("data", "diff"):
        view = getattr(found, part)
        assert view.dtype == np.float32 and view.flags.c_contiguous and view.shape == (4, 5)
        view[1] = 5
        assert (getattr(found, part)[1] == 5).all()
        with pytest.raises(AttributeError):
            setattr(found, part, np.zeros((4, 5)))
    view = found.data
    del found
    assert (view[1] == 5).all()


@blob("reshape")
def reshape_blob(lab):
    found = lab.net().blobs["x"]
    found.data[...] = [[1, 2, 3], [4, 5, 6]]
    found.reshape(1, 1, 2, 2)
    assert found.data.ravel().tolist() == [1, 2, 3, 4], "memory is kept where it is large enough"
    found.reshape()
    assert found.data.shape == () and found.count == 1


@blob("_gpu_data_ptr", "_gpu_diff_ptr")
def gpu_addresses(lab):
    found = lab.net().blobs["x"]
    for name in ("_gpu_data_ptr", "_gpu_diff_ptr"):
        with pytest.raises(caffe.DeviceError, match="address of a blob's d"):
            getattr(found, name)


# Layer


@layer("blobs", "param_str", "phase", "forward", "backward")
def python_layer(lab):
    for phase in (caffe.TRAIN, caffe.TEST):
        made = lab.python_net(phase)
        own = made.layer_dict["own"]
        assert isinstance(own, caffe.Layer) and own.param_str == "2.5" and own.phase == phase
        assert isinstance(own.blobs, BlobVec) and tuple(own.blobs[0].shape) == (1, 3)
        x = np.random.default_rng(0).random((2, 3))
        out = made.forward(x=x)["y"]
        np.testing.assert_allclose(out, 2.5 * x + 1 + phase, rtol=1e-6)
        made.clear_param_diffs()
        assert (made.backward(y=np.ones((2, 3)))["x"] == 2.5).all()
        assert (own.blobs[0].diff == 2).all()
        assert own.seen == ["RawBlobVec", "RawBlobVec", "BoolVec"]


@layer("type")
def layer_type(lab):
    assert [one.type for one in lab.python_net().layers] == ["Input", "Python"]
    assert [one.type for one in lab.net(DEPLOYED).layers][1:] == ["Power", "InnerProduct"]


@layer("setup", "reshape")
def setup_and_reshape(lab):
    made = lab.python_net()
    own, bottom, top = made.layers[1], made.blobs["x"], made.blobs["y"]
    bottom.reshape(5, 3)
    own.reshape([bottom], [top])
    assert tuple(top.shape) == (5, 3)
    own.setup([bottom], [top])
    assert len(own.blobs) == 2, "setup ran again"
