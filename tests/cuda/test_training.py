"""Trainings of the demo network and passes of all shipped networks: the GPU's equal the CPU's."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn.cuda import runtime
from caffe_spn.proto import caffe_pb2
from caffe_spn.prototxt.generate import adapt
from caffe_spn.prototxt.network import build
from caffe_spn.prototxt.shipped import SHIPPED
from caffe_spn.solver import get_solver
from tests.cuda.emulation import blas
from tests.cuda.emulation.driver import EmulatedDriver
from tests.tiny_set import write_tiny_set


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_tiny_set(tmp_path_factory.mktemp("set"))


def demo(data, dropout=False):
    """The demo's training net on patches of 16 x 16, two at a time."""
    options = dict(patch_size=16, batch=2, patches_per_image=1)
    net = build(adapt("demo", "demo", str(data), classes=2, **options), "train")
    if dropout:
        (score,) = (layer for layer in net.layer if layer.name == "score")
        name = score.bottom[0]
        drop = caffe_pb2.LayerParameter(name="drop", type="Dropout", bottom=[name], top=[name])
        net.layer.insert(list(net.layer).index(score), drop)
    return net


def solver_of(data, folder, test=False, **options):
    network = SHIPPED["demo"]
    kept = ("base_lr", "lr_policy", "gamma", "momentum", "weight_decay", "clip_gradients")
    param = caffe_pb2.SolverParameter(
        net_param=demo(data, **options),
        random_seed=3,
        stepsize=4,
        snapshot_prefix=str(folder / "s"),
        **{name: network.solver[name] for name in kept},
    )
    return get_solver(param)


class Losses(list):
    def on_iteration(self, iteration, loss):
        self.append(loss)


def train(solver, iterations):
    """The losses of some iterations."""
    losses = Losses()
    solver.add_listener(losses)
    solver.step(iterations)
    return list(losses)


def state(solver):
    """All that a training has come to: parameters, statistics, and histories."""
    params = [blob.data.copy() for layer in solver.net.layers for blob in layer.blobs]
    return params + [history.copy() for history in solver.history]


def assert_close(found, wanted, rtol, atol):
    for mine, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol, atol)


# Emulated, 100 take a minute and a half.
@pytest.mark.parametrize("iterations", [5, pytest.param(100, marks=pytest.mark.slow)])
def test_the_demo_learns_as_on_the_cpu(gpu, data, tmp_path, iterations):
    on_cpu = solver_of(data, tmp_path)
    wanted = train(on_cpu, iterations)
    caffe.set_mode_gpu()
    on_gpu = solver_of(data, tmp_path)
    found = train(on_gpu, iterations)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert_close(state(on_gpu), state(on_cpu), rtol=1e-3, atol=1e-6)


def test_between_data_and_loss_nothing_is_copied(gpu, data, tmp_path):
    caffe.set_mode_gpu()
    solver = solver_of(data, tmp_path)
    solver.step(2)  # the second makes the table of the diffs that are set to zero
    before = gpu.uploads, gpu.downloads
    solver.step(2)
    uploads, downloads = np.subtract((gpu.uploads, gpu.downloads), before) / 2
    # A batch may be uploaded a step earlier or later, depending on the thread that makes it.
    assert uploads in (1.5, 3, 4.5), "image, coarse and label"
    assert downloads <= 2, "the loss, and what clipping logs"


def test_a_resumed_training_equals_an_uninterrupted_one(gpu, data, tmp_path):
    caffe.set_mode_gpu()
    whole = solver_of(data, tmp_path, dropout=True)
    train(whole, 2)
    whole.snapshot()
    wanted = train(whole, 2)
    # One that was killed, and one that is the same from the start.
    resumed = solver_of(data, tmp_path, dropout=True)
    resumed.restore(whole.newest_state)
    assert train(resumed, 2) == wanted
    again = solver_of(data, tmp_path, dropout=True)
    assert train(again, 4)[2:] == wanted
    final = state(whole)
    # Or the same one, put back, whose passes are CUDA graphs by now.
    whole.restore(whole.newest_state)
    assert train(whole, 2) == wanted
    for other in (whole, resumed, again):
        assert_close(state(other), final, rtol=0, atol=0)


def test_a_training_goes_on_on_the_cpu(gpu, data, tmp_path):
    caffe.set_mode_gpu()
    on_gpu = solver_of(data, tmp_path)
    train(on_gpu, 2)
    on_gpu.snapshot()
    wanted = train(on_gpu, 2)
    caffe.set_mode_cpu()
    on_cpu = solver_of(data, tmp_path)
    on_cpu.restore(on_gpu.newest_state)
    np.testing.assert_allclose(train(on_cpu, 2), wanted, rtol=1e-5)
    assert_close(state(on_cpu), state(on_gpu), rtol=1e-3, atol=1e-6)


def test_trainings_in_threads_at_once(gpu, data, tmp_path):
    caffe.set_mode_gpu()
    alone = solver_of(data, tmp_path, dropout=True)
    alone.step(2)
    others = [solver_of(data, tmp_path, dropout=True) for _ in range(2)]

    def work(solver):
        caffe.set_mode_gpu()
        solver.step(2)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, others, timeout=300))
    for solver in others:
        assert_close(state(solver), state(alone), rtol=0, atol=0)


def test_a_device_that_is_closed_and_opened_again(gpu, emulated_only, data, tmp_path):
    caffe.set_mode_gpu()
    whole = solver_of(data, tmp_path, dropout=True)
    whole.step(2)
    solver = solver_of(data, tmp_path, dropout=True)
    solver.step(1)
    runtime.close_device()
    runtime.install(EmulatedDriver())
    blas.install(runtime.runtime())
    solver.step(1)
    assert_close(state(solver), state(whole), rtol=0, atol=0)


@pytest.mark.parametrize("suffix", ["caffemodel", "caffemodel.h5"])
def test_weights_saved_on_a_gpu_are_the_same_on_the_cpu(gpu, data, tmp_path, suffix):
    caffe.set_mode_gpu()
    trained = solver_of(data, tmp_path)
    trained.step(1)
    trained.net.forward_loss()
    save = trained.net.save_hdf5 if suffix.endswith("h5") else trained.net.save
    save(str(tmp_path / f"w.{suffix}"))
    inputs = {name: trained.net.blobs[name].data.copy() for name in ("image", "coarse", "label")}
    caffe.set_mode_cpu()
    loaded = caffe.Net(demo(data), caffe.TRAIN, weights=str(tmp_path / f"w.{suffix}"))
    for mine, theirs in zip(loaded.learnable_params, trained.net.learnable_params, strict=True):
        np.testing.assert_array_equal(mine.data, theirs.data)
    for name, values in inputs.items():
        loaded.blobs[name].data[...] = values
    loaded.forward_loss(start=1)
    found, wanted = loaded.blobs["score"].data, trained.net.blobs["score"].data
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_networks_compute_as_on_the_cpu(gpu, name):
    network = SHIPPED[name]
    rng = np.random.default_rng(0)
    caffe.set_random_seed(1)
    net = caffe.Net(build(network, "deploy"), caffe.TEST)
    for name in net.inputs:
        blob = net.blobs[name]
        blob.reshape(1, blob.shape[1], network.multiple, 2 * network.multiple)
        blob.data[...] = rng.uniform(0, 255 if name == "image" else 1, blob.shape)
    for layer in net.layers:
        if layer.type == "BatchNorm":
            # As after a training: variances of 1, not of 0.
            for statistic in layer.blobs[1:]:
                statistic.data[...] = 1
    net.forward()
    wanted = {name: blob.data.copy() for name, blob in net.blobs.items()}
    caffe.set_mode_gpu()
    before = gpu.downloads
    net.forward_loss()
    assert gpu.downloads == before and gpu.launches > len(net.layers) / 2
    for name, blob in net.blobs.items():
        atol = 1e-4 * np.abs(wanted[name]).max()
        np.testing.assert_allclose(blob.data, wanted[name], 1e-3, atol, err_msg=name)
