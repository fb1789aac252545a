"""A batch that does not fit on the GPU: what the error says, and what can be done after it."""

import itertools
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn.cuda import solver_update
from caffe_spn.cuda.device.driver import OutOfDeviceMemory
from caffe_spn.cuda.device.memory import Pool
from caffe_spn.cuda.nvidia import libraries
from tests.cuda.recorder import Recorder
from tests.cuda.small_training import BATCH, HEAVY, assert_equal, solver_of, values


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


def test_gradients_and_histories_to_come_are_counted(gpu, emulated_only, tmp_path):
    caffe.set_mode_gpu()
    fitting = solver_of(tmp_path, 8, net=HEAVY)
    fitting.step(1)
    gpu.driver.memory.total = gpu.driver.memory.used
    del fitting
    for batch in (16, 100):
        error = refused(solver_of(tmp_path, batch, net=HEAVY))
        most = int(re.search(r"at most (\d+) instead", error.help)[1])
        assert 7 <= most <= 9
    solver_of(tmp_path, 7, net=HEAVY).step(1)


def test_a_table_of_addresses_that_had_no_room_is_copied_the_next_time(gpu, emulated_only):
    parameters = solver_update.Parameters([1, 1])
    parameters.place([(1, 2, 3, 4)] * 2, [1, 1], [1, 1])
    gpu.driver.memory.total = 0
    with pytest.raises(OutOfDeviceMemory):
        parameters.place([(5, 6, 7, 8)] * 2, [1, 1], [1, 1])
    gpu.driver.memory.total = 1 << 20
    uploads = gpu.uploads
    parameters.place([(5, 6, 7, 8)] * 2, [1, 1], [1, 1])
    assert gpu.uploads == uploads + 1


def test_not_even_one_image_fits(gpu, needs, tmp_path):
    gpu.driver.memory.total = needs["update"] // 20
    error = refused(solver_of(tmp_path))
    assert re.search(r"use smaller images .* at most \d\d% of the pixels, one image at", error.help)
    gpu.driver.memory.total = 100
    assert refused(solver_of(tmp_path)).help == (
        "no batch fits beside what is there: compute on the CPU (set_mode_cpu(), no --gpu)"
    )


def test_a_net_for_tests_counts_no_diffs(gpu, needs, tmp_path):
    solver_of(tmp_path)
    gpu.driver.memory.total = needs["forward"] // 2
    with pytest.raises(OutOfDeviceMemory) as raised:
        caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST).forward()
    assert "at most 4 instead of 8" in raised.value.help or "at most 3" in raised.value.help
    assert "iter_size" not in raised.value.help


def test_a_library_that_finds_no_room(gpu, emulated_only, tmp_path, monkeypatch):
    caffe.set_mode_gpu()
    monkeypatch.setattr(libraries, "_loaded", {"cublas": Recorder()})
    del gpu.libraries["cublas"]
    # What another net has given up is held, and goes back first.
    gpu.memory = Pool(gpu.driver)
    gpu.driver.memory.total = 40 << 20
    gpu.array((20 << 20,), np.uint8)
    gpu.library("cublas")
    del gpu.libraries["cublas"]
    gpu.driver.memory.total = gpu.driver.memory.used + (1 << 20)
    error = refused(solver_of(tmp_path, net=HEAVY))
    assert re.search(r"net\.prototxt:\d+: layer 'fc' \(InnerProduct\)$", error.where)
    assert "33.6 MB were asked for; " in error.message
    # No smaller batch would help.
    assert error.help.startswith("no batch fits")


def test_memory_that_is_short_at_any_moment_costs_no_value(
    gpu, emulated_only, tmp_path, monkeypatch
):
    wanted = solver_of(tmp_path, text="clip_gradients: 5")
    wanted.step(5)
    allocate, left = gpu.driver.allocate, [math.inf]

    def short(nbytes):
        left[0] -= 1
        # The first attempt, and the one after what was held has gone back.
        if left[0] in (0, -1):
            raise OutOfDeviceMemory("for once")
        return allocate(nbytes)

    monkeypatch.setattr(gpu.driver, "allocate", short)
    raised = 0
    for moment in itertools.count(1, 3):
        caffe.set_mode_gpu()
        left[0] = moment
        solver = solver_of(tmp_path, text="clip_gradients: 5")
        while solver.iter < 5:
            try:
                solver.step(5 - solver.iter)
            except OutOfDeviceMemory as error:
                raised += 1
                assert error.where and error.help
                if moment % 2:
                    caffe.set_mode_cpu()
        assert_equal(values(solver), values(wanted), rtol=1e-5)
        if left[0] > 0:
            break
    assert raised > 5
