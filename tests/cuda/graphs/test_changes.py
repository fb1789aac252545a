"""Whatever happens between passes as CUDA graphs, they stay equal to the bit to passes without."""

import gc

import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn.cuda import runtime
from caffe_spn.cuda.device.graphs import set_cuda_graphs
from caffe_spn.cuda.nvidia import libraries
from tests.cuda.graphs.twins import (
    PASSES_TO_A_GRAPH,
    feed,
    make,
    step,
)


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
