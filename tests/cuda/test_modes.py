"""The CPU and the GPU in one process: threads, nets that are moved, scripts that read and write."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import caffe_spn as caffe
from tests.cuda.moving_net import (
    DATA,
    DEPLOY,
    INPUT,
    LAYERS,
    LOSS,
    MODES,
    POWER,
    assert_close,
    net_of,
    passes,
)
from tests.solver_cases import make_solver


@pytest.mark.parametrize("built, run", [("cpu", "gpu"), ("gpu", "cpu"), ("gpu", "gpu")])
def test_built_in_one_mode_and_run_in_the_other(gpu, built, run):
    wanted = passes(net_of())
    MODES[built]()
    net = net_of()
    MODES[run]()
    launches = gpu.launches
    assert_close(passes(net), wanted)
    assert (gpu.launches > launches) == (run == "gpu")


def test_two_nets_at_once(gpu):
    on_cpu, on_gpu = net_of(), net_of()
    wanted = passes(net_of())
    for _ in range(2):
        caffe.set_mode_gpu()
        assert_close(passes(on_gpu), wanted)
        caffe.set_mode_cpu()
        assert_close(passes(on_cpu), wanted)


def test_threads_of_either_mode(gpu):
    wanted = passes(net_of())
    errors = []
    ready = threading.Barrier(4)

    def work(name, net):
        try:
            # A new thread is on the CPU, whatever the others are on.
            assert caffe.device.mode() == caffe.device.CPU
            MODES[name[:3]]()
            ready.wait(60)
            for _ in range(3):
                assert_close(passes(net), wanted)
            assert caffe.device.mode() == (caffe.device.GPU if name[:3] == "gpu" else 0)
        except BaseException as error:
            errors.append((name, error))

    caffe.set_mode_gpu()
    names = ("cpu a", "gpu a", "cpu b", "gpu b")
    threads = [threading.Thread(target=work, args=(name, net_of())) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not errors
    assert caffe.device.mode() == caffe.device.GPU


def test_moved_between_every_two_layers(gpu):
    wanted = passes(net_of())
    net = net_of()
    net.blobs["x"].data[...] = INPUT
    net.clear_param_diffs()
    count = len(net.layers)
    for i in range(count):
        MODES["gpu" if i % 2 else "cpu"]()
        net.forward_loss(i, i)
    net.blobs["y"].diff[...] = 1
    for i in range(count - 1, -1, -1):
        # The other way round: what a layer's forward pass left is found nevertheless.
        MODES["cpu" if i % 2 else "gpu"]()
        net.backward_pass(i, i)
    found = [net.blobs["y"].data, net.blobs["x"].diff]
    assert_close([*found, *(blob.diff for blob in net.learnable_params)], wanted)


@pytest.mark.parametrize("backward", ["whole", "by layers"])
def test_moved_between_passes_that_have_become_graphs(gpu, backward):
    python = LAYERS.split("layer {")[4]
    net = net_of(DEPLOY + LAYERS.replace(python, POWER))
    first, *others = np.random.default_rng(2).standard_normal((4, *INPUT.shape), np.float32)

    def gradient(modes, x):
        for mode, run in zip(modes, (lambda: net.forward(x=x), lambda: down()), strict=True):
            MODES[mode]()
            run()
        return net.blobs["x"].diff.copy()

    def down():
        net.blobs["y"].diff[...] = 1
        for i in [None] if backward == "whole" else range(len(net.layers) - 1, -1, -1):
            net.backward_pass(i, i or 0)

    wanted = [gradient(["cpu"] * 2, x) for x in others]
    for modes in (["cpu"] * 2, ["cpu", "gpu"], ["gpu"] * 2, ["gpu", "cpu"]):
        for _ in range(5):
            gradient(["gpu"] * 2, first)
        gradient(["cpu"] * 2, first)
        assert_close([gradient(modes, x) for x in others], wanted)
    assert gpu.graph_launches


# Trainings


def trained(folder, modes, kind="SGD"):
    """Parameters, statistics and histories after an iteration in each of these modes."""
    folder.mkdir()
    rest = f'type: "{kind}" weight_decay: 0.01 momentum: 0.9 random_seed: 3 clip_gradients: 3'
    solver = make_solver(folder, rest, DATA + LAYERS + LOSS, 'base_lr: 0.01 lr_policy: "fixed"')
    for mode in modes:
        MODES[mode]()
        solver.step(1)
    params = [blob.data.copy() for layer in solver.net.layers for blob in layer.blobs]
    return params + [history.copy() for history in solver.history]


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_a_training_is_moved_to_and_fro(gpu, tmp_path, kind):
    wanted = trained(tmp_path / "cpu", ["cpu"] * 6, kind)
    moved = trained(tmp_path / "moved", ["cpu", "gpu", "gpu", "cpu", "cpu", "gpu"], kind)
    assert_close(moved, wanted)


def test_test_nets_during_a_training(gpu, tmp_path):
    class Tests(list):
        def on_test(self, event):
            self.append([output.value for output in event.outputs])

    found = {}
    for name, set_mode in MODES.items():
        set_mode()
        folder = tmp_path / name
        folder.mkdir()
        rest = "test_iter: 2 test_interval: 2 random_seed: 3"
        solver = make_solver(folder, rest, DATA + LAYERS + LOSS, 'base_lr: 0.01 lr_policy: "fixed"')
        tests = found[name] = Tests()
        solver.add_listener(tests)
        solver.solve()
        (test_net,) = solver.test_nets
        for mine, theirs in zip(
            test_net.learnable_params, solver.net.learnable_params, strict=True
        ):
            assert mine.shares_data_with(theirs)
    assert len(found["gpu"]) == 3
    np.testing.assert_allclose(found["gpu"], found["cpu"], rtol=1e-4)


def test_nets_share_weights_on_the_device(gpu):
    caffe.set_mode_gpu()
    net, other = net_of(), net_of()
    other.params["ip"][0].data[...] = 0
    net.forward(x=INPUT)
    other.share_with(net)
    assert_close([other.forward(x=INPUT)["y"]], [net.forward(x=INPUT)["y"]])
    net.params["ip"][0].data[...] *= 2
    assert_close([other.forward(x=INPUT)["y"]], [net.forward(x=INPUT)["y"]])


def test_nets_that_share_weights_in_threads_of_either_mode(gpu):
    wanted = net_of(phase=caffe.TEST).forward(x=INPUT)["y"].copy()

    def work(mode, net):
        MODES[mode]()
        ready.wait(60)
        assert_close([net.forward(x=INPUT)["y"]], [wanted])

    for _ in range(10):
        # Nothing is on the device yet: all want to bring it there.
        nets = [net_of(phase=caffe.TEST) for _ in range(4)]
        for net in nets[1:]:
            net.share_with(nets[0])
        ready = threading.Barrier(4)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, ["cpu", "gpu", "gpu", "gpu"], nets, timeout=120))


# Scripts


@pytest.mark.parametrize("mode", MODES)
def test_a_script_that_reads_and_writes_in_the_middle(gpu, mode):
    MODES[mode]()
    net = net_of()
    net.forward(x=INPUT)
    # Reading the middle, changing it in place, and going on from there.
    middle = net.blobs["q"].data
    before = net.blobs["y"].data.copy()
    middle *= 2
    net.forward(start="ip")
    bias = net.params["ip"][1].data
    np.testing.assert_allclose(net.blobs["y"].data, 2 * (before - bias) + bias, rtol=1e-4)
    # Net surgery.
    net.params["ip"][0].data[...] = 0
    net.params["ip"][1].data[...] = [4, 5]
    assert net.forward(x=INPUT)["y"].tolist() == [[4, 5], [4, 5]]
    # A gradient of one's own, from the middle down; kept views stay true.
    view = net.blobs["q"].diff
    view[...] = 1
    net.backward(start="pool")
    assert net.blobs["p"].diff.sum() == view.size
    net.blobs["q"].diff[...] = 3
    net.backward(start="pool")
    assert net.blobs["p"].diff.sum() == 3 * view.size


def test_an_input_of_another_shape(gpu):
    net = net_of(DEPLOY + LAYERS.partition('layer { name: "ip"')[0])
    results = {}
    for mode, set_mode in MODES.items():
        set_mode()
        results[mode] = []
        for size in ((1, 3, 4, 4), (3, 3, 10, 6), (2, 3, 5, 7)):
            net.blobs["x"].reshape(*size)
            net.blobs["x"].data[...] = np.resize(INPUT, size)
            results[mode].append(net.forward()["q"].copy())
    assert_close(results["gpu"], results["cpu"])


def test_layers_without_a_gpu_path_between_others(gpu):
    definition = """
        force_backward: true
        layer { name: "in" type: "Input" top: "x" top: "boxes" input_param {
          shape { dim: 2 dim: 3 dim: 6 dim: 8 } shape { dim: 3 dim: 5 } } }
        layer { name: "a" type: "TanH" bottom: "x" top: "a" }
        layer { name: "roi" type: "ROI" bottom: "a" bottom: "boxes" top: "patches"
          roi_param { pooled_h: 2 pooled_w: 3 } }
        layer { name: "b" type: "Sigmoid" bottom: "patches" top: "y" }
    """
    boxes = [[1, 1, 1, 3, 2], [2, 6, 5, 8, 6], [1, 2, 2, 4, 3]]
    found = {}
    for mode, set_mode in MODES.items():
        set_mode()
        net = net_of(definition)
        out = net.forward(x=INPUT, boxes=boxes)["y"].copy()
        found[mode] = [out, net.backward(y=out)["x"].copy()]
    assert_close(found["gpu"], found["cpu"])
