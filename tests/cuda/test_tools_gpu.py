"""The commands with --gpu: results are the CPU's, and errors say in one message what to do."""

import re

import h5py
import numpy as np
import pytest
from skimage.io import imsave

import caffe_spn as caffe
from caffe_spn import device
from caffe_spn.cuda import runtime
from caffe_spn.cuda.device import pycuda_import
from caffe_spn.cuda.device.driver import DeviceLost
from caffe_spn.errors import DeviceError
from caffe_spn.tools import main as cli
from tests.cuda.host_driver import HostDriver
from tests.test_refine import STRIDED
from tests.tools.cli import SOLVER, write_tiny
from tests.tools.conftest import restore_process  # noqa: F401

# What goes in is the same for every batch, so that results can be compared.
NET = """
layer { name: "data" type: "ImageData" top: "data" top: "label"
  image_data_param { source: "list.txt" batch_size: 2 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 3 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
  inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Networks, weights, pictures and coarse maps; the current directory."""
    monkeypatch.chdir(tmp_path)
    # A device that was chosen by one test is not the next one's.
    monkeypatch.setattr(device, "_chosen", 0)
    monkeypatch.setattr(device, "_failure", None)
    write_tiny(tmp_path)
    rng = np.random.default_rng(0)
    for name in "ab":
        picture = rng.integers(0, 255, (17, 22, 3), dtype=np.uint8)
        imsave(f"{name}.png", picture, check_contrast=False)
        np.save(f"{name}.npy", rng.dirichlet([1, 1], (17, 22)).transpose(2, 0, 1))
    (tmp_path / "list.txt").write_text("a.png 0\nb.png 3\n")
    (tmp_path / "features.prototxt").write_text(NET)
    (tmp_path / "spn.prototxt").write_text(STRIDED)
    caffe.set_random_seed(1)
    for name in ("features", "spn", "net"):
        caffe.Net(f"{name}.prototxt", caffe.TEST).save(f"{name}.caffemodel")
    return tmp_path


def run(capsys, *arguments, code=0):
    """What a command printed, errors included."""
    assert cli.main([str(argument) for argument in arguments]) == code
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    return shown.out + shown.err


def numbers(pattern, shown):
    return [float(number) for number in re.findall(pattern, shown)]


# Results


def test_train(gpu, folder, capsys):
    found = {}
    for flags in ((), ("--gpu", "0")):
        launches = gpu.launches
        shown = run(capsys, "train", "--solver", "solver.prototxt", *flags)
        assert (gpu.launches > launches) == bool(flags)
        assert ("Use GPU with device ID 0" in shown) == bool(flags)
        losses = numbers(r"loss = (\S+)", shown)
        assert len(losses) > 8
        net = caffe.Net("net.prototxt", caffe.TEST, weights="out/deep/net_iter_8.caffemodel")
        found[flags] = losses, net.params["conv"][0].data.copy()
    for mine, theirs in zip(*found.values(), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)


def test_train_goes_on_from_a_snapshot(gpu, folder, capsys):
    weights = []
    for flags in ((), ("--snapshot", "out/deep/net_iter_4.solverstate"), ("--resume", "auto")):
        run(capsys, "train", "--solver", "solver.prototxt", "--gpu", "0", *flags)
        weights.append((folder / "out/deep/net_iter_8.caffemodel").read_bytes())
        if flags:
            (folder / "out/deep/net_iter_8.solverstate").unlink()
    assert weights[0] == weights[1] == weights[2]


def test_a_solver_that_asks_for_the_gpu(gpu, folder, capsys):
    write_tiny(folder, SOLVER + "solver_mode: GPU device_id: 0")
    assert "Use GPU with device ID 0" in run(capsys, "train", "--solver", "solver.prototxt")
    assert gpu.launches


def test_test(gpu, folder, capsys):
    command = ("test", "--model", "features.prototxt", "--weights", "features.caffemodel")
    found = []
    for flags in ((), ("--gpu", "0")):
        shown = run(capsys, *command, "--iterations", "2", *flags)
        found.append(numbers(r"loss = (\S+)", shown))
    assert len(found[0]) == 3 and gpu.launches
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4)


def test_time_waits_for_the_gpu_and_says_so(gpu, folder, capsys, monkeypatch):
    waits = []
    wait = device.synchronize
    monkeypatch.setattr(device, "synchronize", lambda: (waits.append(gpu.launches), wait()))
    command = ("time", "--model", "net.prototxt", "--phase", "TRAIN", "--iterations", "2")
    shown = run(capsys, *command, "--gpu", "0")
    assert "GPU device name: " in shown
    times = re.search(r"^conv +Convolution +(\S+) +(\S+) ", shown, re.MULTILINE)
    assert float(times[1]) > 0 and float(times[2]) > 0
    assert re.search(r"^computed on .*GPU.*, peak of its memory: \d", shown, re.MULTILINE)
    assert "measured by the host's clock, waiting for the GPU after each layer" in shown
    assert re.search(r"without waiting between layers: \d+\.\d{3} ms$", shown, re.MULTILINE)
    # Once after each layer's passes at least.
    assert len(set(waits)) >= 2 * 4
    assert "waiting" not in run(capsys, *command)


def test_refine(gpu, folder, capsys):
    command = ("refine", "--model", "spn.prototxt", "--weights", "spn.caffemodel")
    for name, flags in (("cpu", ()), ("gpu", ("--gpu", "0")), ("tiles", ("--gpu", "0"))):
        tile = ("--tile", 12, "--overlap", 4) if name == "tiles" else ()
        files = ("a.png", "a.npy", "b.png", "b.npy", "-o", name, "--prob", "float32")
        run(capsys, *command, *files, *flags, *tile)
    assert gpu.launches
    for name in "ab":
        probabilities = {kind: np.load(f"{kind}/{name}.npz")["prob"] for kind in ("cpu", "gpu")}
        np.testing.assert_allclose(probabilities["gpu"], probabilities["cpu"], rtol=1e-4, atol=1e-6)
        assert np.isfinite(np.load(f"tiles/{name}.npz")["prob"]).all()


def test_extract_features(gpu, folder, capsys):
    command = ("extract_features", "features.caffemodel", "features.prototxt", "conv,fc")
    for kind in ("CPU", "GPU"):
        run(capsys, *command, f"conv_{kind}.h5,fc_{kind}.h5", 2, "hdf5", kind, "DEVICE_ID=0")
    assert gpu.launches
    for blob in ("conv", "fc"):
        with h5py.File(f"{blob}_CPU.h5") as cpu, h5py.File(f"{blob}_GPU.h5") as device_file:
            np.testing.assert_allclose(device_file[blob], cpu[blob], rtol=1e-4, atol=1e-4)


# Errors

COMMANDS = {
    "train": ("train", "--solver", "solver.prototxt"),
    "test": ("test", "--model", "net.prototxt", "--weights", "net.caffemodel"),
    "time": ("time", "--model", "net.prototxt"),
    "refine": (
        *("refine", "--model", "spn.prototxt", "--weights", "spn.caffemodel"),
        *("a.png", "a.npy"),
    ),
    "device_query": ("device_query",),
}


@pytest.fixture
def no_driver(monkeypatch):
    """A machine without NVIDIA's driver."""

    def fail():
        raise ImportError("libcuda.so.1: cannot open shared object file: No such file")

    before = runtime.install(None)
    monkeypatch.setattr(pycuda_import, "_import", fail)
    yield
    runtime.restore(before)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_driver(no_driver, folder, capsys, command):
    shown = run(capsys, *COMMANDS[command], "--gpu", "0", code=1)
    assert re.search(
        rf"^caffe-spn {command}: the GPU was asked for, but there is no NVIDIA driver.*\n  help: ",
        shown,
        re.MULTILINE,
    )
    assert not (folder / "out").exists() and not (folder / "refined").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_gpu_that_is_not_there(gpu, emulated_only, folder, capsys, command):
    shown = run(capsys, *COMMANDS[command], "--gpu", "7", code=1)
    assert (
        f"caffe-spn {command}: GPU 7 was asked for; there are 2, numbered from 0\n  help:"
        " `caffe-spn device_query` lists them; CUDA_VISIBLE_DEVICES can hide some"
    ) in shown


@pytest.mark.parametrize("command", COMMANDS)
def test_no_gpu_at_all(monkeypatch, folder, capsys, command):
    monkeypatch.setattr(HostDriver, "devices", lambda self: [])
    monkeypatch.setattr("caffe_spn.cuda.device.pycuda_driver.PyCudaDriver", HostDriver)
    before = runtime.install(None)
    try:
        shown = run(capsys, *COMMANDS[command], "--gpu", "0", code=1)
    finally:
        runtime.restore(before)
    assert f"caffe-spn {command}: GPU 0 was asked for; there is none" in shown


@pytest.mark.parametrize("chosen", ["0,1", "all"])
def test_several_gpus(gpu, emulated_only, folder, capsys, chosen):
    shown = run(capsys, *COMMANDS["train"], "--gpu", chosen, code=1)
    assert "caffe-spn train: --gpu names 2 GPUs; a training runs on one\n  help: name one" in shown
    # The other commands take the first.
    assert "Use GPU with device ID 0" in run(capsys, *COMMANDS["test"], "--gpu", chosen)


def test_a_solver_that_asks_for_a_gpu_where_there_is_none(no_driver, folder, capsys):
    write_tiny(folder, SOLVER + "solver_mode: GPU")
    shown = run(capsys, *COMMANDS["train"])
    assert shown.count("the solver asks for the GPU (solver_mode: GPU); computing on the CPU") == 1
    assert "there is no NVIDIA driver" in shown and "Use CPU." in shown
    assert (folder / "out/deep/net_iter_8.solverstate").exists()


def test_a_gpu_that_is_lost_ends_refine_at_once(gpu, emulated_only, folder, capsys, monkeypatch):
    def lost(*arguments):
        gpu.driver.lost = "an illegal address was accessed"
        raise DeviceLost.by(gpu.driver.lost)

    monkeypatch.setattr(gpu.driver, "launch", lost)
    shown = run(capsys, *COMMANDS["refine"], "b.png", "b.npy", "--gpu", "0", code=1)
    assert shown.count("the GPU was lost: an illegal address") == 1


def test_too_little_memory(gpu, emulated_only, folder, capsys):
    gpu.driver.memory.total = 5000
    shown = run(capsys, *COMMANDS["train"], "--gpu", "0", code=1)
    assert re.search(r"net\.prototxt:\d+: layer '\w+' \(\w+\)\n  out of memory on Em", shown)
    assert re.search(
        r"\n  help: use a smaller batch: by the sizes of the blobs at most \d in", shown
    )
    with pytest.raises(DeviceError):
        gpu.array((5000,))
