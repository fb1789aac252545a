import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn.cuda import batch_norm
from caffe_spn.errors import ShapeError
from caffe_spn.net import Net
from caffe_spn.proto import caffe_pb2, text
from tests import golden_cases
from tests.cuda import both_devices
from tests.layers.running import TEST, Run, normal

LAYER = 'type: "BatchNorm"'
MVN = 'type: "MVN"'
RUNNING = (normal(3), np.abs(normal(3, seed=1)) + 1, [2.5])

# Vectors of four and rests, one position, one element, five axes, and several blocks for a channel.
SHAPES = [(4, 3, 4, 6), (2, 3, 5, 7), (6, 3), (1, 3, 1, 1), (2, 3, 2, 3, 4), (7,), (3, 3, 37, 41)]


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_by_the_batch(gpu, shape, in_place):
    params = RUNNING if len(shape) > 1 else ()
    x = normal(*shape) * 3 + 2
    both_devices.compare(gpu, LAYER, x, params=params, in_place=in_place, atol=3e-6)


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("weight", [0, 2.5])
def test_by_the_running_averages(gpu, weight, in_place):
    params = (*RUNNING[:2], [weight])
    x = normal(2, 3, 5, 7)
    both_devices.compare(gpu, LAYER, x, params=params, in_place=in_place, phase=TEST)


def test_fraction_and_eps(gpu):
    param = "batch_norm_param { moving_average_fraction: 0.7 eps: 0.1 }"
    both_devices.compare(gpu, f"{LAYER} {param}", normal(2, 3, 5), params=RUNNING)


@pytest.mark.sanitized
@pytest.mark.parametrize("shape", [(3, 3, 5, 8), (6, 3)], ids=str)
def test_in_any_order(gpu_in_order, shape):
    both_devices.compare(gpu_in_order, LAYER, normal(*shape), params=RUNNING, atol=3e-6)


@pytest.mark.parametrize("layer", [LAYER, MVN])
def test_equal_in_bits(gpu, layer):
    x = normal(3, 3, 37, 41)
    both_devices.equal_in_bits(gpu, layer, x, top_diffs=[normal(*x.shape, seed=1)])


def test_a_mean_that_is_large_beside_the_deviations(gpu):
    x = 1000 + np.float64(normal(8, 3, 20, 20))
    want = (x - x.mean((0, 2, 3), keepdims=True)) / x.std((0, 2, 3), keepdims=True)
    (got,), _, _ = both_devices.run(gpu, LAYER, x)
    # The input itself is rounded to 3e-5 of a deviation.
    np.testing.assert_allclose(got, want, atol=3e-4)


def test_an_outlier_costs_no_digits(gpu):
    x = np.float64(normal(8, 1, 20, 20))
    x[0, 0, 0, 0] = 1e4
    want = (x - x.mean()) / x.std()
    (got,), _, _ = both_devices.run(gpu, LAYER, x)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-7)


def test_passes_keep_the_averages_on_the_device(gpu):
    caffe.set_mode_gpu()
    run = Run(LAYER, normal(2, 3, 4, 4), params=RUNNING)
    before = gpu.uploads, gpu.downloads
    for _ in range(3):
        run.forward()
    assert (gpu.uploads, gpu.downloads) == before
    caffe.set_mode_cpu()
    cpu = Run(LAYER, normal(2, 3, 4, 4), params=RUNNING)
    for _ in range(3):
        cpu.forward()
    for a, b in zip(run.layer.blobs, cpu.layer.blobs, strict=True):
        np.testing.assert_allclose(a.data, b.data, 1e-5)


def test_nan_stays_in_its_channel(gpu):
    x = normal(2, 3, 4, 4)
    x[1, 1, 2, 2] = np.nan
    (y,), (diff,), _ = both_devices.run(gpu, LAYER, x, top_diffs=[normal(*x.shape)])
    for array in (y, diff):
        np.testing.assert_array_equal(np.isnan(array).all(axis=(0, 2, 3)), [False, True, False])


# With a Scale layer behind it in place, what BatchNorm keeps serves both.

WITH_SCALE = """
    layer { name: "in" type: "Input" top: "x"
            input_param { shape { dim: 2 dim: 3 dim: 4 dim: 5 } } }
    layer { name: "bn" type: "BatchNorm" bottom: "x" top: "x" }
    layer { name: "scale" type: "Scale" bottom: "x" top: "x" scale_param { bias_term: true } }
    layer { name: "relu" type: "ReLU" bottom: "x" top: "x" }
    force_backward: true
"""


def with_scale(mode, touch=None):
    """The diffs that a net with a Scale layer computes, and that layer."""
    mode()
    net = Net(text.parse(WITH_SCALE, caffe_pb2.NetParameter()), caffe.TRAIN)
    net.params["scale"][0].data[...] = [0.5, -2, 0]
    net.blobs["x"].data[...] = normal(2, 3, 4, 5) + 1
    net.forward_loss(end=1)
    if touch is not None:
        touch(net.blobs["x"])
    net.forward_loss(start=2)
    net.blobs["x"].diff[...] = normal(2, 3, 4, 5, seed=1)
    net.clear_param_diffs()
    net.backward()
    diffs = [net.blobs["x"].diff, *(blob.diff for blob in net.params["scale"])]
    return [diff.copy() for diff in diffs], net.layer_dict["scale"]


def double(blob):
    blob.data[...] *= 2


@pytest.mark.parametrize("touch", [None, double, lambda blob: blob.data])
def test_a_scale_layer_behind_it(gpu, touch):
    want, _ = with_scale(caffe.set_mode_cpu, touch)
    got, scale = with_scale(caffe.set_mode_gpu, touch)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, 1e-5, 1e-6)
    assert ("saved" in scale._gpu_workspaces) == (touch is not None), "kept twice"


def test_a_scale_layer_that_runs_alone_keeps_its_own_input(gpu):
    caffe.set_mode_gpu()
    net = Net(text.parse(WITH_SCALE, caffe_pb2.NetParameter()), caffe.TRAIN)
    net.forward_loss()
    x = np.abs(normal(2, 3, 4, 5))
    net.blobs["x"].data[...] = x
    assert net.blobs["x"].gpu_data.shape == x.shape  # copied up: nothing shows who has written it
    net.forward_loss(start=2)
    net.blobs["x"].diff[...] = 1
    net.clear_param_diffs()
    net.backward_pass(end=2)
    np.testing.assert_allclose(net.params["scale"][0].diff, x.sum(axis=(0, 2, 3)), 1e-5)


# MVN has the same kernels: its rows are channels.


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("variance", ["true", "false"])
@pytest.mark.parametrize("across", ["true", "false"])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 5, 1, 1), (1, 2, 50, 43)], ids=str)
def test_mvn(gpu, shape, across, variance, in_place):
    param = f"mvn_param {{ across_channels: {across} normalize_variance: {variance} eps: 0.01 }}"
    x = normal(*shape) + 3
    both_devices.compare(gpu, f"{MVN} {param}", x, in_place=in_place, atol=3e-6)


@pytest.mark.parametrize("value", [0, 0.1, 1e6, 3.3e-5])
@pytest.mark.parametrize("size", [3, 1001, 5000])
def test_mvn_of_a_constant_map_is_exactly_zero(gpu, value, size):
    (y,), _, _ = both_devices.run(gpu, MVN, np.full((1, 2, 1, size), value))
    np.testing.assert_array_equal(y, 0)


def test_shapes_must_fit(gpu):
    x, three, four = gpu.array((2, 3, 4)), gpu.array((3,)), gpu.array((4,))
    with pytest.raises(ShapeError, match="channel_moments: x is"):
        batch_norm.statistics(x, (2, 3, 5), 1e-5, three, three)
    with pytest.raises(ShapeError, match=r"factor is .* 3 elements"):
        batch_norm.statistics(x, (2, 3, 4), 1e-5, three, four)


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("BatchNorm", "MVN")), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path, gpu):
    both_devices.run_golden(gpu, case, tmp_path)
