"""What goes wrong while a GPU trains: too little memory, a lost device, Ctrl-C, a loss of NaN."""

import logging
import re
import signal
from types import SimpleNamespace

import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn.cuda import libraries
from caffe_spn.cuda.driver import DeviceLost, OutOfDeviceMemory
from caffe_spn.errors import TrainingError, WeightsError
from tests.cuda.recorder import Recorder
from tests.solver_cases import make_solver

NET = """
layer { name: "data" type: "DummyData" top: "x" top: "t" dummy_data_param {
  shape { dim: BATCH dim: 3 dim: 16 dim: 16 } data_filler { type: "constant" value: 0.5 }
  shape { dim: BATCH dim: 4 dim: 16 dim: 16 } data_filler { type: "constant" value: 1 } } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "c" convolution_param {
  num_output: 4 kernel_size: 3 pad: 1
  weight_filler { type: "constant" value: 0.1 } bias_filler { type: "constant" value: 0.2 } } }
layer { name: "relu" type: "ReLU" bottom: "c" top: "r" }
layer { name: "loss" type: "EuclideanLoss" bottom: "r" bottom: "t" top: "loss" }
"""
BATCH = 8


def solver_of(folder, batch=BATCH, text=""):
    folder.mkdir(exist_ok=True)
    return make_solver(folder, f"momentum: 0.9 {text}", NET.replace("BATCH", str(batch)))


def values(solver):
    """Copies of parameters and histories."""
    blobs = [*solver.net.params["conv"], *solver.history_blobs]
    return [blob.data.copy() for blob in blobs]


def assert_equal(found, wanted, rtol=0.0):
    for mine, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=rtol, atol=rtol)


# Memory


@pytest.fixture
def needs(gpu, emulated_only, tmp_path):
    """Bytes of a training after a forward pass, a backward pass, and an update."""
    caffe.set_mode_gpu()
    solver = solver_of(tmp_path / "measured")
    solver.net.clear_param_diffs()
    found = []
    for step in (solver.net.forward_loss, solver.net.backward_pass, solver.apply_update):
        step()
        found.append(gpu.driver.memory.used)
    needs = dict(zip(("forward", "backward", "update"), found, strict=True))
    # What the update needs besides the histories is allocated before and after them.
    needs["history"] = needs["backward"] + 100
    return needs


def refused(solver):
    with pytest.raises(OutOfDeviceMemory) as raised:
        solver.step(1)
    # An exception keeps the net alive that raised it.
    return SimpleNamespace(**vars(raised.value))


WHERE = {
    "forward": r"net\.prototxt:\d+: layer 'loss' \(EuclideanLoss\)",
    "backward": r"net\.prototxt:\d+: layer 'relu' \(ReLU\)",
    "history": r"^the solver's update of 'conv' \(0\)",
    "update": r"^the solver's update",
}


@pytest.mark.parametrize("when", WHERE)
def test_a_batch_that_does_not_fit(gpu, needs, tmp_path, when):
    wanted = solver_of(tmp_path / "cpu")
    caffe.set_mode_cpu()
    wanted.step(2)
    caffe.set_mode_gpu()
    solver = solver_of(tmp_path / "gpu")
    before = values(solver)
    gpu.driver.memory.total = needs[when] - 1
    error = refused(solver)
    assert re.search(f"{WHERE[when]}$", error.where)
    assert re.fullmatch(
        r"out of memory on Emulated GPU: 0\.\d MB were asked for; 0\.0 MB of 0\.\d MB are free, and"
        r" this process's arrays hold 0\.\d MB",
        error.message,
    )
    most = int(re.search("at most (\\d+) instead of 8, in a net that is made anew", error.help)[1])
    assert "; iter_size of the solver makes up for it; or smaller images" in error.help
    # Nothing is half-written: the CPU goes on where the GPU was.
    assert solver.iter == 0
    assert_equal(values(solver), before)
    caffe.set_mode_cpu()
    solver.step(2)
    assert_equal(values(solver), values(wanted), rtol=1e-5)
    # The GPU goes on with what was proposed, in the same memory.
    caffe.set_mode_gpu()
    del solver
    smaller = solver_of(tmp_path / "smaller", most)
    smaller.step(1)
    assert np.isfinite(smaller.net.blobs["loss"].data)


@pytest.mark.parametrize("share", [0.25, 0.4, 0.55, 0.7, 0.85])
def test_the_batch_that_is_proposed_fits_and_is_not_much_too_small(gpu, needs, tmp_path, share):
    gpu.driver.memory.total = int(share * needs["update"])
    error = refused(solver_of(tmp_path / "large"))
    most = int(re.search(r"at most (\d+) instead", error.help)[1])
    assert share * BATCH - 2 < most <= share * BATCH
    solver_of(tmp_path / "proposed", most).step(1)


def test_not_even_one_image_fits(gpu, needs, tmp_path):
    gpu.driver.memory.total = needs["update"] // 20
    error = refused(solver_of(tmp_path))
    assert re.search(r"use smaller images .* at most \d\d% of the pixels, one image at", error.help)
    gpu.driver.memory.total = 100
    assert refused(solver_of(tmp_path)).help == (
        "not even the parameters fit beside what is there: compute on the CPU (set_mode_cpu(), no"
        " --gpu)"
    )


def test_a_net_for_tests_counts_no_diffs(gpu, needs, tmp_path):
    solver_of(tmp_path)
    gpu.driver.memory.total = needs["forward"] // 2
    with pytest.raises(OutOfDeviceMemory) as raised:
        caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST).forward()
    assert "at most 4 instead of 8" in raised.value.help or "at most 3" in raised.value.help
    assert "iter_size" not in raised.value.help


# A device that is lost


class Losing:
    """Lets a method of the driver fail at its nth call, as a device does that is lost."""

    def __init__(self, monkeypatch, driver, name, calls):
        self.driver, self.left, self.method = driver, calls, getattr(driver, name)
        monkeypatch.setattr(driver, name, self)

    def __call__(self, *arguments, **options):
        self.left -= 1
        if not self.left:
            self.driver.lost = "an illegal address was accessed"
            raise DeviceLost.by(self.driver.lost)
        return self.method(*arguments, **options)


def go_on(folder, state):
    """Two iterations on the CPU from a snapshot."""
    caffe.set_mode_cpu()
    solver = solver_of(folder)
    solver.restore(state)
    solver.step(2)
    return values(solver)


def test_a_device_lost_in_the_middle(gpu, emulated_only, tmp_path, monkeypatch):
    wanted = solver_of(tmp_path / "cpu")
    wanted.step(4)
    caffe.set_mode_gpu()
    prefix = tmp_path / "gpu" / "s"
    solver = solver_of(tmp_path / "gpu", text=f'snapshot: 2 snapshot_prefix: "{prefix}"')
    solver.step(3)
    Losing(monkeypatch, gpu.driver, "launch", 3)
    with pytest.raises(DeviceLost) as raised:
        solver.step(1)
    message = str(raised.value)
    assert re.match(
        r".*net\.prototxt:\d+: layer '\w+' \(\w+\)\n  the GPU was lost: an ill", message
    )
    state = f"{prefix}_iter_2.solverstate"
    assert f"help: iteration 3 was under way; in a new process go on from {state} (" in message
    # Nothing works on the device any more, also not this.
    with pytest.raises(DeviceLost):
        solver.snapshot()
    assert [p.name for p in sorted(prefix.parent.glob("s_iter_*"))] == [
        *("s_iter_2.caffemodel", "s_iter_2.solverstate", "s_iter_2.state.json")
    ]
    assert_equal(go_on(tmp_path / "gpu", state), values(wanted), rtol=1e-5)


@pytest.mark.parametrize("reads", range(1, 5))
def test_a_device_lost_while_a_snapshot_is_written(
    gpu, emulated_only, tmp_path, monkeypatch, reads
):
    caffe.set_mode_gpu()
    prefix = tmp_path / "s"
    solver = solver_of(tmp_path, text=f'snapshot_prefix: "{prefix}"')
    solver.step(1)
    solver.snapshot()
    earlier = {path: path.read_bytes() for path in tmp_path.glob("s_iter_1.*")}
    solver.step(1)
    Losing(monkeypatch, gpu.driver, "to_host", reads)
    with pytest.raises(DeviceLost):
        solver.snapshot()
    # What is written last, and makes it a snapshot, is not there; nothing else has changed.
    assert not list(tmp_path.glob("s_iter_2.solverstate*"))
    assert earlier == {path: path.read_bytes() for path in tmp_path.glob("s_iter_1.*")}
    assert len(earlier) == 3
    go_on(tmp_path, f"{prefix}_iter_1.solverstate")


def test_a_device_lost_before_the_first_snapshot(gpu, emulated_only, tmp_path, monkeypatch):
    caffe.set_mode_gpu()
    solver = solver_of(tmp_path, text="clip_gradients: 1")
    solver.step(1)
    Losing(monkeypatch, gpu.driver, "launch", 10)
    with pytest.raises(DeviceLost, match=r"iteration \d was under way; this training has written"):
        solver.step(9)


# Other ends


def test_ctrl_c(gpu, tmp_path):
    class Sender:
        def on_iteration(self, iteration, loss):
            if iteration == 2:
                signal.raise_signal(signal.SIGINT)

    caffe.set_mode_gpu()
    solver = solver_of(tmp_path, text=f'snapshot_prefix: "{tmp_path}/s"')
    solver.handle_signals()
    solver.add_listener(Sender())
    solver.solve()
    assert solver.iter == 2
    resumed = solver_of(tmp_path)
    resumed.restore(f"{tmp_path}/s_iter_2.solverstate")
    assert_equal(values(resumed), values(solver))


def test_a_loss_that_is_not_finite(gpu, tmp_path):
    caffe.set_mode_gpu()
    solver = solver_of(tmp_path, text=f'snapshot_prefix: "{tmp_path}/s"')
    solver.net.params["conv"][1].data[...] = np.nan
    with pytest.raises(TrainingError):
        solver.step(1)
    with pytest.raises((TrainingError, WeightsError)):
        solver.snapshot()
    assert not list(tmp_path.glob("s_iter*"))


def test_cudnn_of_another_major_version(gpu, emulated_only, tmp_path, monkeypatch, caplog):
    solver = solver_of(tmp_path / "cpu")
    solver.step(1)
    caffe.set_mode_gpu()
    monkeypatch.setattr(libraries, "_loaded", {"cudnn": Recorder(cudnnGetVersion=100200)})
    del gpu.libraries["cudnn"]
    with caplog.at_level(logging.WARNING, "caffe_spn"):
        found = solver_of(tmp_path / "gpu")
        found.step(1)
    assert_equal(values(found), values(solver), rtol=1e-5)
    assert caplog.messages == [
        "cuDNN of version 10 (100200) was found; 8 and 9 are supported; convolutions are computed"
        " with im2col and cuBLAS, which is slower (pip install nvidia-cudnn-cu13 or"
        " nvidia-cudnn-cu12)"
    ]
