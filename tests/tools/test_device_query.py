"""caffe-spn device_query, and --gpu of the commands that run a network."""

import argparse
import re

import pytest

import caffe_spn as caffe
from caffe_spn import device
from caffe_spn.cuda import runtime
from caffe_spn.cuda.compiling import nvcc, nvrtc
from caffe_spn.cuda.device import pycuda_driver, pycuda_import
from caffe_spn.cuda.device.driver import DeviceLost
from caffe_spn.cuda.nvidia import libraries
from caffe_spn.errors import DeviceError
from caffe_spn.tools import arguments, device_query, train
from caffe_spn.tools import main as cli
from tests.cuda.host_driver import HostDriver
from tests.tools.cli import SOLVER, write_tiny


@pytest.fixture
def nothing(monkeypatch):
    """A machine that has nothing of CUDA."""

    def fail():
        raise ModuleNotFoundError("No module named 'pycuda'", name="pycuda")

    def version(name):
        raise device_query.importlib.metadata.PackageNotFoundError(name)

    before = runtime.install(None)
    monkeypatch.setattr(device, "_failure", None)
    monkeypatch.setattr(pycuda_import, "_import", fail)
    monkeypatch.setattr(device_query, "driver_version", lambda: None)
    monkeypatch.setattr(device_query.importlib.metadata, "version", version)
    for module in (nvcc, nvrtc):
        monkeypatch.setattr(module, "find", lambda: None)
    monkeypatch.setattr(libraries, "find", lambda name: None)
    yield
    runtime.restore(before)


@pytest.fixture
def gpus(monkeypatch):
    """Three GPUs, of which the last is too old."""
    before = runtime.install(None)
    monkeypatch.setattr(pycuda_driver, "PyCudaDriver", HostDriver)
    monkeypatch.setattr(device, "_chosen", 0)
    yield
    caffe.set_mode_cpu()
    runtime.close_device()
    runtime.restore(before)


def test_a_machine_without_a_gpu(nothing, capsys):
    assert cli.main(["device_query"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("CPU  ")
    for remedy in (
        "NVIDIA driver         not found; install NVIDIA's driver",
        "PyCUDA                not installed; pip install 'caffe_spn[gpu]'",
        "GPU                   none can be used; every network runs on the CPU",
        "NVRTC                 not found; kernels need nvcc or NVRTC: pip install",
        "cuBLAS                not found; pip install nvidia-cublas",
        "cuDNN                 not found; pip install nvidia-cudnn-cu13",
    ):
        assert f"\n{remedy}" in text


def test_a_gpu_that_must_be_there(nothing, capsys):
    assert cli.main(["device_query", "-gpu", "0"]) == 1
    assert "PyCUDA is not installed\n  help: pip install" in capsys.readouterr().err


def test_devices_are_described(gpus, capsys):
    assert cli.main(["device_query"]) == 0
    text = capsys.readouterr().out
    assert re.search(
        r"^GPU 0 +Host 0\n  capability +7\.5\n  memory +0\.0 GB\n  multiprocessors +2\n"
        r"  shared memory +98 KiB for a block\nGPU 1 +Host 1\n",
        text,
        re.M,
    )
    assert re.search(r"^GPU 2 +Host 2\n  capability +6\.1, too old$", text, re.M)
    assert not runtime.is_open()


def test_what_is_found_is_named(nothing, monkeypatch, capsys):
    def refuse():
        raise DeviceError("CAFFE_SPN_NVCC is x, which is no program", help="unset it")

    monkeypatch.setattr(nvcc, "find", refuse)
    monkeypatch.setattr(nvrtc, "find", lambda: "/lib/libnvrtc.so.13")
    monkeypatch.setattr(libraries, "find", lambda name: f"/lib/{name}")
    assert cli.main(["device_query"]) == 0
    text = capsys.readouterr().out
    assert "CAFFE_SPN_NVCC is x, which is no program" in text
    assert "help: unset it" in text
    assert "\nNVRTC                 /lib/libnvrtc.so.13\n" in text
    assert "\ncuDNN                 /lib/cudnn\n" in text


def test_a_kernel_with_wrong_numbers_is_noticed(gpus, capsys):
    # This driver runs no kernels.
    assert cli.main(["device_query", "--gpu", "1"]) == 1
    assert "GPU 1 (Host 1) ran a kernel and gave wrong numbers" in capsys.readouterr().err


# --gpu


@pytest.mark.parametrize(
    "text, expected", [("0", [0]), ("2, 1", [2, 1]), ("all", "all"), ("ALL", "all")]
)
def test_the_values_of_gpu(text, expected):
    assert arguments.gpus(text) == expected


@pytest.mark.parametrize("text", ["", "x", "0;1", "0.5"])
def test_values_that_are_none(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is neither the number of a GPU"):
        arguments.gpus(text)


@pytest.mark.parametrize("chosen, ordinal", [([1], 1), ([1, 0], 1), ("all", 0)])
def test_the_first_gpu_is_chosen(gpus, chosen, ordinal):
    arguments.choose_device(chosen)
    assert device.mode() == device.GPU
    assert runtime.runtime().device.ordinal == ordinal
    arguments.choose_device(None)
    assert device.mode() == device.CPU


def test_what_computes_is_said(gpus, caplog):
    caplog.set_level("INFO", "caffe_spn")
    arguments.say_device("a:1", "a:2")
    arguments.choose_device([1])
    arguments.say_device("a:1", "a:2")
    assert caplog.messages == ["Use CPU.", "Use GPU with device ID 1", "GPU device name: Host 1"]


@pytest.mark.parametrize("gpu, count", [("0,1", 2), ("all", 3)])
def test_a_training_runs_on_one(gpus, gpu, count, capsys):
    assert cli.main(["train", "--solver", "none.prototxt", "--gpu", gpu]) == 1
    message = capsys.readouterr().err
    assert f"--gpu names {count} GPUs; a training runs on one" in message
    assert f"name one, e.g. --gpu 0; with iter_size: {count}" in message


def test_without_gpu_the_solver_chooses(gpus):
    solver = caffe.proto.caffe_pb2.SolverParameter()
    train._choose_solvers_device(solver)
    assert device.mode() == device.CPU
    solver.solver_mode = solver.CPU
    train._choose_solvers_device(solver)
    assert device.mode() == device.CPU
    solver.solver_mode = solver.GPU
    solver.device_id = 1
    train._choose_solvers_device(solver)
    assert device.mode() == device.GPU
    assert runtime.runtime().device.ordinal == 1


def test_a_solver_that_asks_for_a_gpu_trains_without_one(nothing, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_tiny(tmp_path, SOLVER + "solver_mode: GPU\n")
    assert cli.main(["train", "--solver", "solver.prototxt"]) == 0
    log = capsys.readouterr().err
    asks = "the solver asks for the GPU (solver_mode: GPU); computing on the CPU: "
    assert log.count(asks) == 1
    assert f"{asks}the GPU was asked for, but PyCUDA is not installed" in log
    assert "Use CPU." in log


def test_gpu_that_cannot_be_used_is_an_error(nothing, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_tiny(tmp_path)
    assert cli.main(["train", "--solver", "solver.prototxt", "--gpu", "0"]) == 1
    assert "PyCUDA is not installed" in capsys.readouterr().err
    assert cli.main(["train", "--solver", "solver.prototxt", "--gpu", "first"]) == 2


def test_a_device_lost_in_the_middle_names_the_snapshot(tmp_path, monkeypatch, capsys):
    from caffe_spn.running_net import RunningNet

    forward = RunningNet._run_forward
    passes = []

    def lose(net, *arguments):
        passes.append(net)
        if len(passes) == lost_at:
            raise DeviceLost.by("an illegal address")
        forward(net, *arguments)

    monkeypatch.chdir(tmp_path)
    write_tiny(tmp_path)
    monkeypatch.setattr(RunningNet, "_run_forward", lose)
    start = ["train", "--solver", "solver.prototxt"]
    lost_at = 3
    assert cli.main(start) == 1
    message = capsys.readouterr().err
    assert "the GPU was lost: an illegal address\n  help: iteration 2 was under way" in message
    assert "this training has written no snapshot yet: begin it again" in message
    passes.clear()
    # Two passes of a test come at iteration 4.
    lost_at = 4 + 2 + 2
    assert cli.main(start) == 1
    message = capsys.readouterr().err
    state = "out/deep/net_iter_4.solverstate"
    assert f"help: iteration 5 was under way; in a new process go on from {state}" in message
    passes.clear()
    lost_at = -1
    assert cli.main([*start, "--snapshot", state]) == 0


@pytest.mark.parametrize("text, expected", [(None, 0), ("3", 3), ("DEVICE_ID=2", 2)])
def test_device_id_of_extract_features(text, expected):
    from caffe_spn.tools.extract_features import _number

    assert _number(text) == expected


def test_device_id_that_is_none():
    from caffe_spn.tools.extract_features import _number

    with pytest.raises(caffe.CaffeSpnError, match="'DEVICE_ID=x' is no number of a GPU"):
        _number("DEVICE_ID=x")
