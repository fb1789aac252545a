"""What scripts keep of a net lives on without it; what nobody keeps is freed at once."""

import gc
import os
import tempfile
import weakref

import numpy as np
import pytest

import caffe_spn as caffe
from tests.pycaffe.lab import DEPLOYED, TRAINED


def test_blobs_and_parameters_outlive_their_net(lab):
    net = lab.trained()
    net.forward()
    net.backward()
    params = [blob for blobs in net.params.values() for blob in blobs]
    blobs = net.blobs.values()
    view = net.blobs["score"].data
    score = view.copy()
    gone = weakref.ref(net)
    del net
    gc.collect()
    assert gone() is None
    total = sum(float(abs(b.data).sum() + abs(b.diff).sum()) for b in [*params, *blobs])
    assert np.isfinite(total) and total > 0
    np.testing.assert_array_equal(view, score)


def test_a_net_whose_blob_alone_is_kept(lab):
    blob = lab.net().blobs["x"]
    blob.data[...] = 3
    assert blob.data.sum() == 18


def test_nets_in_a_loop_are_freed_without_the_garbage_collector(lab):
    path = lab.write(TRAINED)
    gc.collect()
    gc.disable()
    try:
        made = []
        for _ in range(5):
            net = caffe.Net(path, caffe.TRAIN)
            net.after_forward(lambda index: None)
            net.forward()
            net.backward()
            made.append(weakref.ref(net))
            del net
        assert [ref() for ref in made] == [None] * 5
    finally:
        gc.enable()


def test_the_file_may_go_once_the_net_is_there():
    with tempfile.NamedTemporaryFile("w+", suffix=".txt", delete=False) as file:
        file.write(DEPLOYED)
    net = caffe.Net(file.name, caffe.TEST)
    os.remove(file.name)
    assert net.forward()["y"].shape == (2, 3)


def test_an_error_whose_file_has_gone_still_names_the_layer():
    with tempfile.NamedTemporaryFile("w+", delete=False) as file:
        file.write(DEPLOYED)
    net = caffe.Net(file.name, caffe.TEST)
    os.remove(file.name)
    net.blobs["x"].reshape(2, 4)
    with pytest.raises(caffe.ShapeError, match="layer 'fc'"):
        net.reshape()


def test_nets_outlive_their_solver(lab):
    solver = lab.solver()
    nets = [solver.net, *solver.test_nets]
    gone = weakref.ref(solver)
    del solver
    gc.collect()
    assert gone() is None
    for net in nets:
        net.forward()
        net.backward()
        assert all(np.isfinite(b.diff).all() for bs in net.params.values() for b in bs)
