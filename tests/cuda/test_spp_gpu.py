"""SPP on the GPU: the same as on the CPU, for every way of pooling."""

import numpy as np
import pytest

import caffe_spn as caffe
from tests.cuda.arrays import normal
from tests.cuda.both_devices import compare, run
from tests.layers.running import Run

PYRAMID = "type: 'SPP' spp_param {{ pyramid_height: {} pool: {} }}"


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
@pytest.mark.parametrize(("height", "shape"), [(1, (2, 3, 4, 5)), (3, (2, 3, 7, 9))])
def test_pyramids(gpu, pool, height, shape):
    compare(gpu, PYRAMID.format(height, pool), normal(*shape))


def test_stochastic_draws_a_pixel_of_each_bin(gpu):
    x = np.arange(2 * 3 * 4 * 8, dtype=np.float32).reshape(2, 3, 4, 8) + 1
    (y,), (diff,), _ = run(gpu, PYRAMID.format(2, "STOCHASTIC"), x, top_diffs=[np.ones((2, 15))])
    want = np.zeros_like(x)
    for n, c in np.ndindex(2, 3):
        bins = [x[n, c], x[n, c, :2, :4], x[n, c, :2, 4:], x[n, c, 2:, :4], x[n, c, 2:, 4:]]
        # The channels of the whole map, then four bins of each channel.
        drawn = [y[n, c], *y[n, 3 + 4 * c : 7 + 4 * c]]
        for pixels, pixel in zip(bins, drawn, strict=True):
            assert pixel in pixels
            want[n, c][x[n, c] == pixel] += 1
    np.testing.assert_array_equal(diff, want)


def test_stochastic_expectation(gpu):
    x = np.abs(normal(2, 3, 4, 8))
    compare(gpu, PYRAMID.format(2, "STOCHASTIC"), x, phase=caffe.TEST, gradient=False)


@pytest.mark.parametrize("height", [1, 2])
def test_stochastic_goes_on_after_a_snapshot(gpu, height):
    x = np.abs(normal(2, 3, 16, 16))
    caffe.set_mode_gpu()
    made = Run(PYRAMID.format(height, "STOCHASTIC"), x)
    first, state = made.out.copy(), made.layer.state()
    made.forward()
    want = made.out.copy()
    assert (want != first).any()
    other = Run(PYRAMID.format(height, "STOCHASTIC"), x)
    other.layer.restore_state(state)
    other.forward()
    np.testing.assert_array_equal(other.out, want)


def test_each_level_draws_numbers_of_its_own(gpu):
    caffe.set_mode_gpu()
    made = Run(PYRAMID.format(3, "STOCHASTIC"), np.abs(normal(2, 3, 16, 16)))
    made.forward()
    _, passes = made.layer.draws.cpu_data
    assert passes == 2 * 3
