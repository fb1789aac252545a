"""What the shipped networks copy between host and device, and how much memory they take there."""

import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn.cuda import runtime
from caffe_spn.memory import memory_need
from caffe_spn.proto import caffe_pb2
from caffe_spn.prototxt.generate import adapt
from caffe_spn.prototxt.network import build
from caffe_spn.prototxt.shipped import SHIPPED
from caffe_spn.solver import get_solver
from tests.cuda.device.test_feed import wait_for_the_thread
from tests.cuda.emulation import blas
from tests.cuda.emulation.build import compiler
from tests.cuda.emulation.driver import EmulatedDriver
from tests.tiny_set import write_tiny_set

# What a training takes on the device, divided by the maps that pass between its layers and their
# derivatives (docs/gpu.md): kept maps, the next batch, and what allocations are rounded up to.
# Large batches come to 1.22, 1.12 and 1.07.
SIZES = {"demo": ("demo", 32, 1.25), "helen_spn": ("helen", 64, 1.14), "voc_spn": ("voc", 64, 1.09)}
LARGE = [pytest.param(name, marks=pytest.mark.slow) for name in ("helen_spn", "voc_spn")]


@pytest.fixture
def gpu(emulated_only):
    """An emulated device that economises as a real one does; the usual fixture does not."""
    if compiler() is None:
        pytest.skip("there is no g++ to compile the kernels for the CPU with")
    before = runtime.install(EmulatedDriver())
    try:
        blas.install(runtime.runtime())
        caffe.set_mode_gpu()
        yield runtime.runtime()
    finally:
        caffe.set_mode_cpu()
        runtime.restore(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_tiny_set(tmp_path_factory.mktemp("set"))


def training(name, data):
    design, patch, _ = SIZES[name]
    options = dict(classes=2, patch_size=patch, batch=1, patches_per_image=1)
    net = build(adapt(design, name, str(data), **options), "train")
    return get_solver(
        caffe_pb2.SolverParameter(
            net_param=net,
            random_seed=3,
            base_lr=1e-5,
            momentum=0.9,
            lr_policy="fixed",
            clip_gradients=1000,
        )
    )


@pytest.mark.parametrize("name", ["demo", *LARGE])
def test_a_training_step_uploads_beside_the_computation_and_reads_the_loss(
    name, gpu, data, monkeypatch
):
    solver = training(name, data)
    solver.step(2)
    wait_for_the_thread(solver.net)
    solver.net.layers[0].look_ahead()
    streams = []
    upload = gpu.upload

    def noted(target, source, stream=None):
        streams.append(stream)
        upload(target, source, stream)

    monkeypatch.setattr(gpu, "upload", noted)
    for _ in range(2):
        wait_for_the_thread(solver.net)
        nbytes = gpu.downloaded_bytes
        solver.step(1)
        assert gpu.downloaded_bytes - nbytes <= 4 + 8, "the loss, and what clipping logs"
    # The image, its coarse map and its labels, once for each step.
    assert streams == [gpu.copy_stream] * 6
    check_memory(name, gpu, solver)
    solver.close()


def check_memory(name, gpu, solver):
    need = memory_need(solver.net)
    histories = sum(blob.count * 4 for blob in solver.history_blobs)
    scratch = 0 if gpu.current_scratch is None else gpu.current_scratch.nbytes
    taken = gpu.memory.peak - need.params - need.param_diffs - histories - scratch
    assert 1 < taken / (need.data + need.diff) < SIZES[name][-1]


@pytest.mark.parametrize("name", ["demo", "helen_spn", "voc_spn"])
def test_a_deployed_network_copies_its_input_up_and_nothing_else(name, gpu):
    network = SHIPPED[name]
    definition = build(network, "deploy")
    for layer in definition.layer:
        for shape in layer.input_param.shape:
            shape.dim[:] = [1, shape.dim[1], network.multiple, 2 * network.multiple]
    net = caffe.Net(definition, caffe.TEST)
    net.forward_loss()
    need, peak = memory_need(net), gpu.memory.peak
    assert peak < 1.05 * need.forward
    for _ in range(2):
        for blob in map(net.blobs.__getitem__, net.inputs):
            blob.data[...] = np.random.default_rng(0).random(blob.shape)
        before = gpu.uploads, gpu.downloads
        net.forward_loss()
        assert (gpu.uploads - before[0], gpu.downloads - before[1]) == (len(net.inputs), 0)
    uploads = gpu.uploads
    net.forward_loss()
    assert gpu.uploads == uploads and gpu.memory.peak == peak
