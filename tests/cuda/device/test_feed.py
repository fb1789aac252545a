"""Batches are uploaded beside the computation: in order, once, and never too early or too late."""

import time

import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn import DataError, layer
from caffe_spn.cuda import runtime
from caffe_spn.cuda.device import feed
from caffe_spn.data.batch_layer import BatchLayer
from caffe_spn.net import Net
from caffe_spn.proto import caffe_pb2, text
from tests.cuda.emulation import blas
from tests.cuda.emulation.build import compiler
from tests.cuda.emulation.driver import EmulatedDriver
from tests.cuda.emulation.streams import LateStreams

SHAPE = (2, 3)
NET = """
layer { name: "d" type: "Numbers" top: "x" top: "t" }
layer { name: "i" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 3
  weight_filler { type: "constant" value: 0.1 } } }
layer { name: "l" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }
"""


def batch(k):
    x = np.random.default_rng(k).standard_normal(SHAPE)
    # Of other types than the blobs: they are converted on the way.
    return [x, np.full(SHAPE, k, np.int16), np.zeros(5)]


@pytest.fixture(autouse=True)
def numbers(monkeypatch):
    """The layer type of `NET`; what it makes and how far ahead can be set."""
    caffe.layer_type_list()
    monkeypatch.setattr(layer, "_registry", dict(layer._registry))

    @layer.register("Numbers", bottoms=(), tops=("x", "t"))
    class Numbers(BatchLayer):
        prefetch = 2
        produce = staticmethod(batch)

        def setup(self, bottom, top):
            produce = self.produce
            self.start(lambda seed: produce, self.prefetch)

        def reshape(self, bottom, top):
            for blob in top:
                if blob.count == 1:
                    blob.reshape(*SHAPE)

    return Numbers


@pytest.fixture(params=["none", "first", "others", "all"])
def gpu(request, emulated_only):
    """The runtime; which of its streams do everything as late as they may."""
    if compiler() is None:
        pytest.skip("there is no g++ to compile the kernels for the CPU with")
    late = request.param
    before = runtime.install(EmulatedDriver() if late == "none" else LateStreams(late))
    try:
        blas.install(runtime.runtime())
        yield runtime.runtime()
    finally:
        caffe.set_mode_cpu()
        runtime.restore(before)


def make():
    return Net(text.parse(NET, caffe_pb2.NetParameter()), caffe.TRAIN)


def wait_for_the_thread(net):
    batches = net.layers[0]._batches
    end = time.monotonic() + 10
    while batches is not None and batches._results is not None and batches._results.empty():
        assert time.monotonic() < end
        time.sleep(0.001)


def step(net):
    """What a step computes; the data as the loss saw them."""
    net.clear_param_diffs()
    wait_for_the_thread(net)
    loss = net.forward_backward()
    return loss, net.params["i"][0].cpu_diff.copy()


def assert_equal_steps(net, other, count=4):
    for _ in range(count):
        got = step(net)
        caffe.set_mode_cpu()
        want = step(other)
        caffe.set_mode_gpu()
        np.testing.assert_allclose(got[0], want[0], rtol=1e-5)
        np.testing.assert_allclose(got[1], want[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_every_batch_arrives_in_its_turn(prefetch, gpu, numbers):
    numbers.prefetch = prefetch
    net, other = make(), make()
    caffe.set_mode_gpu()
    assert_equal_steps(net, other, count=8)
    net.close()
    assert_equal_steps(net, other)


def test_several_steps_without_anybody_reading_in_between(gpu):
    net, other = make(), make()
    caffe.set_mode_gpu()
    for _ in range(6):
        wait_for_the_thread(net)
        net.forward_backward()
    caffe.set_mode_cpu()
    for _ in range(6):
        other.forward_backward()
    np.testing.assert_allclose(net.params["i"][0].diff, other.params["i"][0].diff, rtol=1e-4)
    np.testing.assert_array_equal(net.blobs["x"].data, other.blobs["x"].data)


def test_uploads_are_on_the_copy_stream_and_only_the_loss_comes_back(gpu, monkeypatch):
    net = make()
    caffe.set_mode_gpu()

    def unread_step():
        net.clear_param_diffs()
        wait_for_the_thread(net)
        net.forward_backward()

    for _ in range(3):
        unread_step()
    wait_for_the_thread(net)
    net.layers[0].look_ahead()
    streams = []
    upload = gpu.upload

    def noted(target, source, stream=None):
        streams.append(stream)
        upload(target, source, stream)

    monkeypatch.setattr(gpu, "upload", noted)
    for _ in range(5):
        downloads, nbytes = gpu.downloads, gpu.downloaded_bytes
        unread_step()
        assert (gpu.downloads - downloads, gpu.downloaded_bytes - nbytes) == (1, 4)
    assert streams == [gpu.copy_stream] * 10


def test_batches_of_changing_shape(gpu, numbers):
    def produce(k):
        rows = 1 + k % 3
        return [np.full((rows, 3), k, np.float32), np.full((rows, 3), -k, np.float32)]

    numbers.produce = staticmethod(produce)
    net, other = make(), make()
    caffe.set_mode_gpu()
    assert_equal_steps(net, other, count=7)


def test_what_is_too_large_goes_the_usual_way(gpu, monkeypatch):
    monkeypatch.setattr(feed, "MOST_BYTES", 20)
    net, other = make(), make()
    caffe.set_mode_gpu()
    assert_equal_steps(net, other, count=5)
    assert gpu._copy_stream is None


def test_back_to_the_cpu_and_again(gpu):
    net, other = make(), make()
    caffe.set_mode_gpu()
    assert_equal_steps(net, other, count=3)
    for _ in range(2):
        caffe.set_mode_cpu()
        assert step(net)[0] == pytest.approx(step(other)[0], rel=1e-5)
    caffe.set_mode_gpu()
    assert_equal_steps(net, other, count=3)


def test_another_device_goes_on_with_the_same_batch(gpu):
    net, other = make(), make()
    caffe.set_mode_gpu()
    assert_equal_steps(net, other, count=3)
    wait_for_the_thread(net)
    net.forward()
    before = runtime.install(EmulatedDriver())
    try:
        blas.install(runtime.runtime())
        caffe.set_mode_cpu()
        other.forward()
        np.testing.assert_array_equal(net.blobs["x"].data, other.blobs["x"].data)
        net.forward()
        other.forward()
        np.testing.assert_array_equal(net.blobs["x"].data, other.blobs["x"].data)
    finally:
        runtime.restore(before)


def test_a_batch_that_is_on_its_way_is_not_yet_used(gpu):
    net = make()
    caffe.set_mode_gpu()
    data = net.layers[0]
    for used in range(1, 5):
        step(net)
        wait_for_the_thread(net)
        data.look_ahead()
        assert data._ahead is not None
        assert data.state()["next_batch"] == used
    state = data.state()
    step(net)
    data.restore_state(state)
    assert data._ahead is None
    step(net)
    assert (net.blobs["t"].data == 4).all()


def test_an_error_comes_with_its_batch(gpu, numbers):
    def produce(k):
        if k == 3:
            raise DataError("a file is broken")
        return batch(k)

    numbers.produce = staticmethod(produce)
    net = make()
    caffe.set_mode_gpu()
    for k in range(3):
        step(net)
        assert (net.blobs["t"].data == k).all()
        wait_for_the_thread(net)
    with pytest.raises(DataError, match="a file is broken"):
        net.forward()
