"""Checks of Blob and Layer."""

import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn.vectors import BlobVec
from tests.pycaffe.lab import DEPLOYED
from tests.pycaffe.registry import checks_of

CHECKS = {}
blob = checks_of("Blob", CHECKS)
layer = checks_of("Layer", CHECKS)


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
