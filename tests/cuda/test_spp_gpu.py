"""SPP on the GPU: the same as on the CPU, for every way of pooling."""

import numpy as np
import pytest

import caffe_spn as caffe
from tests.cuda.arrays import normal
from tests.cuda.both_devices import compare
from tests.layers.running import Run

PYRAMID = "type: 'SPP' spp_param {{ pyramid_height: {} pool: {} }}"


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
@pytest.mark.parametrize(("height", "shape"), [(1, (2, 3, 4, 5)), (3, (2, 3, 7, 9))])
def test_pyramids(gpu, pool, height, shape):
    compare(gpu, PYRAMID.format(height, pool), normal(*shape))


def test_random_pooling_runs_on_the_host(gpu):
    caffe.set_mode_gpu()
    made = Run(PYRAMID.format(2, "STOCHASTIC"), np.abs(normal(1, 2, 4, 4)))
    diff = made.backward(np.ones((1, 10), np.float32))[0]
    assert gpu.launches == 0 and diff.sum() == 10
