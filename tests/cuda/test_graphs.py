"""Passes as CUDA graphs: equal to the bit to passes without, whatever happens in between."""

import gc

import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn import DeviceError, Layer, layer
from caffe_spn.cuda import runtime
from caffe_spn.cuda.device.feed import Feed
from caffe_spn.cuda.device.graphs import NotCaptured, Record, capture, set_cuda_graphs
from caffe_spn.cuda.nvidia import libraries
from caffe_spn.proto import caffe_pb2, text
from tests.cuda.emulation.build import EmulationError
from tests.golden_cases import case_id, cases, copied, param_blob, part

NET = """
layer { name: "in" type: "Input" top: "x" top: "l" input_param {
  shape { dim: 2 dim: 3 dim: 6 dim: 7 } shape { dim: 2 dim: 1 dim: 6 dim: 7 } } }
layer { name: "c" type: "Convolution" bottom: "x" top: "c" convolution_param {
  num_output: 4 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
layer { name: "bn" type: "BatchNorm" bottom: "c" top: "c" }
layer { name: "s" type: "Scale" bottom: "c" top: "c" scale_param { bias_term: true } }
layer { name: "r" type: "ReLU" bottom: "c" top: "c" }
layer { name: "p" type: "Pooling" bottom: "x" top: "p"
  pooling_param { kernel_size: 3 stride: 1 pad: 1 } }
layer { name: "g" type: "Convolution" bottom: "p" top: "g" convolution_param {
  num_output: 48 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "spn" type: "SpatialPropagation" bottom: "c" bottom: "g" top: "h"
  spatial_propagation_param { units: 2 } }
layer { name: "d" type: "Dropout" bottom: "h" top: "d" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "d" bottom: "l" top: "loss" }
layer { name: "a" type: "Accuracy" bottom: "d" bottom: "l" top: "a" }
"""
# The first allocates; three that are equal to one another; and one that is captured.
PASSES_TO_A_GRAPH = 5


@pytest.fixture(autouse=True)
def back_to_default(monkeypatch):
    from caffe_spn.cuda.device import graphs

    monkeypatch.setattr(graphs, "_allowed", True)


@pytest.fixture
def mode(gpu):
    caffe.set_mode_gpu()
    return gpu


def make(definition=NET, phase=caffe.TRAIN):
    caffe.set_random_seed(3)
    return caffe.Net(text.parse(definition, caffe_pb2.NetParameter()), phase)


def feed(net, seed):
    rng = np.random.default_rng(seed)
    shape = net.blobs["x"].shape
    net.blobs["x"].data[...] = rng.standard_normal(shape)
    net.blobs["l"].reshape(shape[0], 1, *shape[2:])
    net.blobs["l"].data[...] = rng.integers(0, 4, net.blobs["l"].shape)


def step(net, seed, read=True):
    """What a training step computes: every number of the net."""
    feed(net, seed)
    net.clear_param_diffs()
    loss = net.forward_backward()
    return [np.float32(loss), *everything(net)] if read else loss


def everything(net):
    params = [blob for layer in net.layers for blob in layer.blobs]
    blobs = [*net._blobs, *params]
    return [blob.cpu_data.copy() for blob in blobs] + [blob.cpu_diff.copy() for blob in blobs]


def assert_equal(got, want):
    assert len(got) == len(want)
    for i, (a, b) in enumerate(zip(got, want, strict=True)):
        np.testing.assert_array_equal(a, b, err_msg=f"number {i} of what was computed")


class Twins:
    """The same net with and without graphs."""

    def __init__(self, gpu, make=make):
        self.gpu, self.make = gpu, make
        self.nets = [make(), make()]
        self.seed = 0

    def both(self, change):
        for graphs, net in zip((True, False), self.nets, strict=True):
            set_cuda_graphs(graphs)
            change(net)

    def steps(self, count=1):
        """Compare; returns how many graphs were launched."""
        launched = self.gpu.graph_launches
        for _ in range(count):
            self.seed += 1
            results = []
            self.both(lambda net: results.append(step(net, self.seed)))  # noqa: B023
            assert_equal(*results)
        return self.gpu.graph_launches - launched

    def until_graphs(self):
        """Steps until both passes are launched as graphs."""
        for _ in range(12):
            if self.steps() == 2:
                return
        raise AssertionError("no graph was captured")


@pytest.fixture
def twins(mode):
    twins = Twins(mode)
    twins.until_graphs()
    return twins


# Without changes


ONE_SHAPE = [
    c for c in cases("layer", "wiring", "net", "data") if c["name"] != "reshape_fully_conv"
]


@pytest.mark.parametrize("case", ONE_SHAPE, ids=case_id)
def test_recorded_nets(case, tmp_path, mode):
    with copied(case, tmp_path):
        want, got = run_recorded(case, graphs=False), run_recorded(case, graphs=True)
    assert_equal(got, want)


def run_recorded(case, graphs, passes=PASSES_TO_A_GRAPH + 2):
    set_cuda_graphs(graphs)
    caffe.set_random_seed(5)
    arrays = np.load(case["name"] + ".npz")
    net = caffe.Net(case["name"] + ".prototxt", getattr(caffe, case["phase"]))
    if case.get("feed") == "set_input_arrays":
        net.set_input_arrays(*part(arrays, "in").values())
    for key, value in part(arrays, "param").items():
        param_blob(net, key).data[...] = value
    found = []
    for number in range(passes):
        for name, value in part(arrays, "in").items() if "feed" not in case else ():
            net.blobs[name].reshape(*value.shape)
            # Labels stay labels.
            whole = np.array_equal(value, np.round(value))
            net.blobs[name].data[...] = value if whole else value * np.float32(1 + number / 4)
        found.append(np.float64(net.forward_loss()))
        if case["backward"]:
            for name, value in part(arrays, "topdiff").items():
                net.blobs[name].diff[...] = value * (1 + number)
            net.clear_param_diffs()
            net.backward_pass()
        if number in (1, passes - 1):
            found += everything(net)
    net.close()
    return found


def test_a_step_is_two_launches_and_its_values_follow_the_input(mode):
    twins = Twins(mode)
    assert [twins.steps() for _ in range(PASSES_TO_A_GRAPH + 2)] == [0, 0, 0, 0, 2, 2, 2]


def test_a_launched_step_copies_inputs_up_and_the_loss_down(twins, monkeypatch):
    (net, _), gpu = twins.nets, twins.gpu
    set_cuda_graphs(True)
    feed(net, 1)
    launched = []
    monkeypatch.setattr(gpu.driver, "launch", lambda *arguments: launched.append(arguments))
    before = gpu.uploads, gpu.downloads, gpu.launches
    net.forward_backward()
    assert (gpu.uploads - before[0], gpu.downloads - before[1]) == (2, 1)
    assert not launched and gpu.launches - before[2] > 20, "those in graphs are counted"


def test_a_forward_pass_of_a_test_net(mode):
    nets = [make(phase=caffe.TEST), make(phase=caffe.TEST)]
    for seed in range(6):
        outputs = []
        for graphs, net in zip((True, False), nets, strict=True):
            set_cuda_graphs(graphs)
            feed(net, seed)
            outputs.append([value.copy() for value in net.forward().values()])
        assert_equal(*outputs)
    assert mode.graph_launches == 2


# With changes


def reshape(*shape):
    def change(net):
        net.blobs["x"].reshape(*shape)

    return change


def read_all(net):
    for blob in net._blobs:
        blob.data, blob.diff  # noqa: B018 (the host's are the newest then)


def write_parameters(net):
    net.params["c"][0].data[...] *= 0.5
    net.params["bn"][0].data[...] += 1


def write_on_the_device(net):
    source = runtime.runtime().array(net.params["c"][0].shape)
    runtime.runtime().upload(source, np.full(source.shape, 0.25, np.float32))
    net.params["c"][0].copy_gpu_data(source)


def share_an_array(net):
    blob = net.params["c"][0]
    source = runtime.runtime().array(blob.shape)
    runtime.runtime().upload(source, np.full(source.shape, 0.25, np.float32))
    blob.share_gpu_data(source)


def share_layers(net):
    net.share_trained_layers_with(make())


def weigh_the_loss(net):
    net.blobs["loss"].diff[...] = 3


def no_backward(net):
    net.bottom_need_backward[-2][0] = False


def forward_alone(net):
    net.forward()
    net.forward(start="p", end="g")


def on_the_cpu(net):
    caffe.set_mode_cpu()
    try:
        step(net, 77)
    finally:
        caffe.set_mode_gpu()


def other_draws(net):
    dropout = next(layer for layer in net.layers if layer.type == "Dropout")
    dropout.restore_state({**dropout.state(), "draws": [11, 5]})


def tf32(net):
    libraries.set_tf32(not libraries.tf32())


def callbacks(net):
    seen = []
    net.before_forward(seen.append)
    step(net, 78)
    assert len(seen) == len(net.layers)
    net._callbacks["before_forward"].clear()


def another_net(net):
    other = make()
    other.blobs["x"].reshape(3, 3, 20, 20)
    for seed in range(PASSES_TO_A_GRAPH):
        step(other, seed)


def other_work_space(net):
    runtime.runtime().drop_scratch()


CHANGES = {
    "smaller": reshape(1, 3, 5, 7),
    "larger": reshape(3, 3, 8, 9),
    **{
        function.__name__: function
        for function in (
            *(read_all, write_parameters, write_on_the_device, share_an_array, share_layers),
            *(weigh_the_loss, no_backward, forward_alone, on_the_cpu, other_draws, tf32),
            *(callbacks, another_net, other_work_space),
        )
    },
}


@pytest.mark.parametrize("change", CHANGES)
def test_after_a_change(change, twins, monkeypatch):
    monkeypatch.setattr(libraries, "_tf32", False)
    twins.both(CHANGES[change])
    twins.steps()
    twins.until_graphs()
    twins.steps(2)


def test_after_many_changes(twins, monkeypatch):
    monkeypatch.setattr(libraries, "_tf32", False)
    rng = np.random.default_rng(6)
    names = sorted(CHANGES)
    for _ in range(20):
        name = names[rng.integers(len(names))]
        twins.both(CHANGES[name])
        twins.steps(rng.integers(0, 4))
        # As if graphs had not been dropped so often.
        for graphed in (twins.nets[0]._forward_graph, twins.nets[0]._backward_graph):
            graphed._patience = 1


def test_memory_is_not_kept_when_a_net_grows(mode, emulated_only):
    net = make()
    set_cuda_graphs(True)
    for seed in range(PASSES_TO_A_GRAPH + 1):
        step(net, seed)
    net.blobs["x"].reshape(2, 3, 12, 14)
    step(net, 1)
    with_graphs = mode.memory.in_use
    set_cuda_graphs(False)
    other = make()
    del net
    gc.collect()
    step(other, 1)
    other.blobs["x"].reshape(2, 3, 12, 14)
    step(other, 1)
    assert with_graphs <= mode.memory.in_use
    assert not mode.driver.graphs


def test_graphs_go_with_their_net(twins, emulated_only):
    set_cuda_graphs(True)
    assert len(twins.gpu.driver.graphs) == 2
    twins.nets.clear()
    gc.collect()
    assert not twins.gpu.driver.graphs


def test_switched_off_and_on_again(twins, emulated_only):
    net, _ = twins.nets
    set_cuda_graphs(False)
    launched = twins.gpu.graph_launches
    step(net, 1)
    assert twins.gpu.graph_launches == launched
    assert not twins.gpu.driver.graphs
    step(twins.nets[1], 1)
    twins.until_graphs()


@pytest.mark.parametrize("value, used", [("0", False), ("1", True), (None, True)])
def test_environment(value, used, monkeypatch):
    from caffe_spn.cuda.device import graphs

    monkeypatch.setattr(graphs, "_allowed", None)
    monkeypatch.delenv("CAFFE_SPN_CUDA_GRAPHS", raising=False)
    if value is not None:
        monkeypatch.setenv("CAFFE_SPN_CUDA_GRAPHS", value)
    assert graphs.cuda_graphs() is used


def test_a_net_of_always_another_size_is_left_alone(mode):
    net = make(phase=caffe.TEST)
    captured = []
    begin = mode.driver.begin_capture
    mode.driver.begin_capture = lambda: captured.append(1) or begin()
    for number in range(40):
        if number % 5 == 0:
            net.blobs["x"].reshape(1 + number % 2, 3, 6, 7)
        feed(net, number)
        net.forward()
    # Five are enough for the first graph; twice as many equal ones are wanted after each.
    assert len(captured) == 1


# What is not captured


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


@pytest.mark.parametrize("what", ["upload", "download", "event", "wait", "waiting"])
def test_what_cannot_be_captured(what, gpu):
    array, host, event = gpu.array((3,)), np.zeros(3, np.float32), gpu.event()
    calls = {
        "upload": lambda: gpu.upload(array, host),
        "download": lambda: gpu.download(host, array),
        "event": lambda: gpu.record(event),
        "wait": lambda: gpu.wait(event),
        "waiting": gpu.synchronize,
    }
    with pytest.raises(NotCaptured):
        capture(gpu, calls[what])
    # The runtime is as it was.
    calls[what]()


def test_a_feed_may_go_while_a_graph_is_captured(gpu):
    sent = Feed(gpu, 1)
    sent.send([np.ones(3, np.float32)])
    capture(gpu, sent.drop)
    assert not sent.under_way


def test_what_is_captured_is_not_done_yet(gpu):
    array, host = gpu.array((3,)), np.ones(3, np.float32)
    gpu.upload(array, host)
    launches = gpu.launches
    graph = capture(gpu, lambda: gpu.zero(array))
    gpu.download(host, array)
    assert (host == 1).all() and gpu.launches == launches
    graph.launch()
    gpu.download(host, array)
    assert (host == 0).all()


def test_another_thread_computes_while_one_captures(gpu):
    import threading

    x, y = gpu.array((3,)), gpu.array((3,))
    host = np.ones(3, np.float32)

    def other():
        gpu.upload(y, host)
        gpu.zero(y)
        assert gpu.watcher is None and gpu.stream is not None

    def enqueue():
        gpu.zero(x)
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    gpu.upload(x, host)
    capture(gpu, enqueue)
    gpu.download(host, y)
    assert (host == 0).all(), "done at once"
    gpu.download(host, x)
    assert (host == 1).all(), "only captured"


def test_the_emulated_driver_refuses_what_cuda_refuses(gpu, emulated_only):
    stream = gpu.driver.begin_capture()
    for call in (gpu.driver.synchronize, lambda: gpu.driver.synchronize(stream)):
        with pytest.raises(EmulationError, match="synchronize while a graph is captured"):
            call()
    with pytest.raises(EmulationError, match="the capture was invalidated by synchronize"):
        gpu.driver.end_capture(stream)


def test_records_differ_by_each_argument(gpu):
    x, y = gpu.array((3,)), gpu.array((3,))

    def record(*what):
        made = Record()
        made.enqueued(*what)
        return made

    base = record("scale", x, 3, 1.5, np.uint8(1))
    assert base.same(record("scale", x, 3, 1.5, np.uint8(1)))
    for what in [
        ("scale", y, 3, 1.5, np.uint8(1)),
        ("scale", x, 4, 1.5, np.uint8(1)),
        ("scale", x, 3, 1.25, np.uint8(1)),
        ("scale", x, 3, 1.5, np.uint8(2)),
        ("scale", x, 3, 1.5, np.int8(1)),
        ("scale", x, True, 1.5, np.uint8(1)),
    ]:
        assert not base.same(record(*what))
