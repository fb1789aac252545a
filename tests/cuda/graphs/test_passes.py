"""Passes as CUDA graphs: equal to the bit to passes without."""

import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn.cuda.device.graphs import set_cuda_graphs
from tests.cuda.graphs.twins import (
    PASSES_TO_A_GRAPH,
    Twins,
    assert_equal,
    everything,
    feed,
    make,
)
from tests.golden_cases import case_id, cases, copied, param_blob, part

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
