"""Nets that do not become CUDA graphs, and why."""

import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn import DeviceError, Layer, layer
from caffe_spn.cuda import runtime
from caffe_spn.proto import caffe_pb2, text
from tests.cuda.graphs.twins import PASSES_TO_A_GRAPH, make


@pytest.fixture
def types(monkeypatch):
    caffe.layer_type_list()
    monkeypatch.setattr(layer, "_registry", dict(layer._registry))


def refusal(definition, gpu, passes=PASSES_TO_A_GRAPH + 2):
    net = make(definition)
    found = []
    for number in range(passes):
        net.blobs["x"].data[...] = number
        found.append(next(iter(net.forward().values())).copy())
    return found, net._forward_graph.refusal


TWO = """
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "m" type: "%s" bottom: "x" top: "y" }
"""


def test_a_layer_on_the_host(types, mode):
    @layer.register("Counts")
    class Counts(Layer):
        count = 0

        def reshape(self, bottom, top):
            top[0].reshape_like(bottom[0])

        def forward_cpu(self, bottom, top):
            self.count += 1
            top[0].data[...] = bottom[0].data + self.count

    found, why = refusal(TWO % "Counts", mode)
    assert why == "layer 'm' (Counts) runs in between"
    np.testing.assert_array_equal([array[0, 0] for array in found], 2 * np.arange(7) + 1)


def test_a_users_layer_on_the_gpu(types, mode):
    @layer.register("Mine")
    class Mine(Layer):
        def reshape(self, bottom, top):
            top[0].reshape_like(bottom[0])

        def forward_gpu(self, bottom, top):
            runtime.runtime().copy(top[0].new_gpu_data, bottom[0].gpu_data)

    _, why = refusal(TWO % "Mine", mode)
    assert why == "layer 'm' (Mine) runs in between"


def test_a_layer_that_reads_on_the_host(mode):
    found, why = refusal(
        """
        layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 4 } } }
        layer { name: "e" type: "Embed" bottom: "x" top: "y" embed_param {
          num_output: 1 input_dim: 9 weight_filler { type: "uniform" } } }
        """,
        mode,
    )
    assert why == "reading on the host"
    assert len({array.tobytes() for array in found}) == len(found)


@pytest.mark.parametrize("part", ["data", "cpu_data"])
def test_a_layer_that_reads_a_blob_that_is_on_the_host_only(part, types, mode):
    @layer.register("Scaled", bottoms=("x", "scale"))
    class Scaled(Layer):
        def reshape(self, bottom, top):
            top[0].reshape_like(bottom[0])

        def forward_gpu(self, bottom, top):
            from caffe_spn.cuda import pointwise

            slope = float(getattr(bottom[1], part)[0])
            pointwise.forward("relu", bottom[0].gpu_data, top[0].new_gpu_data, slope)

    # As if it were one of the package's.
    Scaled.__module__ = "caffe_spn.layers.scaled"
    definition = """
    layer { name: "in" type: "Input" top: "x" top: "s" input_param {
      shape { dim: 3 } shape { dim: 1 } } }
    layer { name: "m" type: "Scaled" bottom: "x" bottom: "s" top: "y" }
    """
    net = make(definition)
    scale = net.blobs["s"].data
    for number in range(PASSES_TO_A_GRAPH + 2):
        net.blobs["x"].data[...] = -1
        # A view that was kept is enough, as long as the device has never seen the blob.
        scale[...] = 2 if number < PASSES_TO_A_GRAPH else 7
        assert net.forward()["y"][0] == -scale[0]
    assert net._forward_graph.refusal == "reading on the host"


def test_float64_is_computed_on_the_host(mode):
    net = caffe.Net(text.parse(TWO % "TanH", caffe_pb2.NetParameter()), caffe.TEST, dtype=float)
    for number in range(6):
        net.blobs["x"].data[...] = number
        np.testing.assert_array_equal(net.forward()["y"], np.full((2, 3), np.tanh(number)))
    assert mode.graph_launches == 0


def test_a_driver_without_graphs(mode, monkeypatch, caplog):
    monkeypatch.setattr(mode.driver, "begin_capture", lambda: None)
    with caplog.at_level("INFO", "caffe_spn"):
        found, why = refusal(TWO % "TanH", mode, 10)
    assert why == "the driver has no CUDA graphs"
    assert caplog.text.count("the driver has no CUDA graphs") == 1
    assert found[-1][0, 0] == np.float32(np.tanh(np.float32(9)))


@pytest.mark.parametrize("call", ["begin_capture", "end_capture"])
def test_a_driver_that_fails_to_capture(call, mode, monkeypatch):
    original = getattr(mode.driver, call)

    def fails(*arguments):
        if call == "end_capture":
            original(*arguments)
        raise DeviceError("out of luck")

    monkeypatch.setattr(mode.driver, call, fails)
    found, why = refusal(TWO % "TanH", mode)
    assert why == "out of luck"
    np.testing.assert_allclose([array[0, 0] for array in found], np.tanh(np.arange(7)), rtol=1e-6)
