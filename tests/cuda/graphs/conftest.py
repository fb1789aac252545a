"""What tests of nets that run as CUDA graphs share."""

import pytest

import caffe_spn as caffe
from caffe_spn.cuda.device import graphs
from tests.cuda.graphs.twins import Twins


@pytest.fixture(autouse=True)
def back_to_default(monkeypatch):
    monkeypatch.setattr(graphs, "_allowed", True)


@pytest.fixture
def mode(gpu):
    caffe.set_mode_gpu()
    return gpu


@pytest.fixture
def twins(mode):
    twins = Twins(mode)
    twins.until_graphs()
    return twins
