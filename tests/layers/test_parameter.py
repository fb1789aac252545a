"""Parameter: a learned array as a top."""

import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn.proto import caffe_pb2, text
from tests import golden_cases as golden

NET = """
force_backward: true
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "p" type: "Parameter" top: "p" parameter_param { shape { dim: 2 dim: 3 } } }
layer { name: "y" type: "Eltwise" bottom: "x" bottom: "p" top: "y"
  eltwise_param { operation: PROD } }
"""


@pytest.fixture
def net():
    return caffe.Net(text.parse(NET, caffe_pb2.NetParameter(), "net"), caffe.TRAIN)


@pytest.mark.parametrize("case", golden.cases("layer", types=("Parameter",)), ids=golden.case_id)
def test_as_recorded_from_caffe(case, tmp_path):
    golden.run_net(case, tmp_path)


def test_it_starts_from_zeros_and_is_the_top(net):
    assert net.params["p"][0].shape == (2, 3) and not net.params["p"][0].data.any()
    net.params["p"][0].data[...] = 5
    net.blobs["x"].data[...] = [[1, 2, 3], [4, 5, 6]]
    np.testing.assert_array_equal(net.forward()["y"], 5 * net.blobs["x"].data)


def test_its_gradient_is_what_the_consumer_writes(net):
    net.params["p"][0].data[...] = 2
    net.blobs["x"].data[...] = [[1, 2, 3], [4, 5, 6]]
    net.forward()
    net.blobs["y"].diff[...] = 10
    net.backward()
    np.testing.assert_array_equal(net.params["p"][0].diff, 10 * net.blobs["x"].data)
