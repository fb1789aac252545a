"""MemoryData on a GPU: its batches go up without a copy in the host's blobs."""

import numpy as np

import caffe_spn
from tests.layers.test_memory_data import arrays, make_net


def test_batches_go_round(gpu):
    caffe_spn.set_mode_gpu()
    net = make_net()
    data, labels = arrays(4)
    net.set_input_arrays(data, labels)
    for first in (0, 2, 0):
        uploads = gpu.uploads
        net.forward()
        assert gpu.uploads == uploads + 2
        np.testing.assert_array_equal(net.blobs["data"].data, data[first : first + 2])
        assert net.blobs["label"].data.ravel().tolist() == [first, first + 1]


def test_arrays_may_change_behind_a_pass(gpu):
    caffe_spn.set_mode_gpu()
    net = make_net()
    data, labels = arrays(2)
    net.set_input_arrays(data, labels)
    net.forward()
    wanted = data.copy()
    data[...] = -1
    np.testing.assert_array_equal(net.blobs["data"].data, wanted)


def test_the_mode_may_change(gpu):
    net = make_net()
    data, labels = arrays(4)
    net.set_input_arrays(data, labels)
    net.forward()
    caffe_spn.set_mode_gpu()
    net.forward()
    np.testing.assert_array_equal(net.blobs["data"].data, data[2:])
    caffe_spn.set_mode_cpu()
    net.forward()
    np.testing.assert_array_equal(net.blobs["data"].data, data[:2])
