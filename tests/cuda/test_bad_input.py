"""What ends a training on a GPU: a lost device, Ctrl-C, a loss of NaN; libraries that fail."""

import logging
import re
import signal

import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn.cuda.device.driver import DeviceLost
from caffe_spn.cuda.nvidia import libraries
from caffe_spn.errors import TrainingError, WeightsError
from tests.cuda.recorder import Recorder
from tests.cuda.small_training import assert_equal, solver_of, values

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


def test_a_device_lost_before_the_first_snapshot(gpu, emulated_only, tmp_path, monkeypatch, caplog):
    caffe.set_mode_gpu()
    # What was clipped is on its way to the log then.
    caplog.set_level(logging.INFO, "caffe_spn")
    solver = solver_of(tmp_path, text="clip_gradients: 1")
    forward = solver.net.layers[1].forward

    def lose_later(bottom, top):
        if solver.iter == 2:
            Losing(monkeypatch, gpu.driver, "launch", 1)
        forward(bottom, top)

    monkeypatch.setattr(solver.net.layers[1], "forward", lose_later)
    with pytest.raises(DeviceLost) as raised:
        solver.step(9)
    assert re.search(r"layer 'conv' \(Convolution\)$", raised.value.where)
    assert re.match(r"iteration \d was under way; this training has written no", raised.value.help)


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
    warnings = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert warnings == [
        "cuDNN of version 10 (100200) was found; 8 and 9 are supported; convolutions are computed"
        " with im2col and cuBLAS, which is slower (pip install nvidia-cudnn-cu13 or"
        " nvidia-cudnn-cu12)"
    ]
