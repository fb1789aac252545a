"""The solvers' updates on a GPU: rules, clipping, whole trainings, and snapshots."""

import itertools
import logging

import numpy as np
import pytest

import caffe_spn
from caffe_spn import update_rules
from caffe_spn.cuda.solver_update import CHUNK, Parameters
from caffe_spn.solver import SOLVERS, get_solver
from tests import golden_cases as golden
from tests.cuda.emulation.driver import ORDERS, EmulatedDriver
from tests.layers.running import normal
from tests.solver_cases import DATA, LEARNER, NET, make_solver, weights

RATE = 0.1
# Histories, and what the rule takes after the rate.
RULES = {
    "sgd": (1, (0.8,)),
    "nesterov": (1, (0.8,)),
    "adagrad": (1, (0.01,)),
    "rmsprop": (1, (0.9, 0.01)),
    "adadelta": (2, (0.8, 0.01)),
    "adam": (2, (0.8, 0.9, 0.01, 3)),
}
# One element, a rest of a vector, several chunks, none.
COUNTS = (1, 7, 2 * CHUNK + 5, 0, 64)


class OnDevice:
    """Parameters with data, diff and histories, on the host and on the device.

    `start` elements before each array make it begin at an address that is not aligned.
    """

    def __init__(self, gpu, histories=1, start=0):
        self.gpu = gpu
        self.host = [
            [normal(count, seed=10 * i + kind) for kind in range(2 + histories)]
            for i, count in enumerate(COUNTS)
        ]
        for arrays in self.host:
            for history in arrays[2:]:
                np.abs(history, out=history)
        self.device = [[self._copy(a, start) for a in arrays] for arrays in self.host]
        self.parameters = Parameters(COUNTS)
        self.lr_mults, self.decay_mults = [1, 0.5, 2, 1, 0], [1, 0, 3, 1, 1]
        self.place()

    def _copy(self, array, start):
        target = self.gpu.array((array.size + start,)).part(start, array.shape)
        self.gpu.upload(target, array)
        return target

    def place(self):
        addresses = [[a.address for a in arrays] for arrays in self.device]
        padded = [(*row, *[0] * (4 - len(row))) for row in addresses]
        self.parameters.place(padded, self.lr_mults, self.decay_mults)

    def compare(self, wanted):
        for arrays, wants in zip(self.device, wanted, strict=True):
            for array, want in zip(arrays, wants, strict=True):
                got = np.empty_like(want)
                self.gpu.download(got, array)
                np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-6)


@pytest.mark.sanitized
@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("kind", ["L1", "L2"])
@pytest.mark.parametrize("rule", RULES)
def test_rule(rule, kind, start, gpu):
    histories, settings = RULES[rule]
    on_device = OnDevice(gpu, histories, start)
    launches = gpu.launches
    on_device.parameters.update(rule, RATE, settings, 0.5, 0.01, kind)
    assert gpu.launches == launches + 1
    mults = zip(on_device.host, on_device.lr_mults, on_device.decay_mults, strict=True)
    for (data, diff, *history), lr_mult, decay_mult in mults:
        scratch = np.empty(2 * data.size, np.float32)
        diff *= 0.5
        if decay_mult:
            update_rules.regularize(diff, data, 0.01 * decay_mult, kind, scratch)
        step = getattr(update_rules, rule)
        step(diff, *history, RATE * lr_mult, *settings, scratch)
        data -= diff
    on_device.compare(on_device.host)


@pytest.mark.sanitized
@pytest.mark.parametrize("start", [0, 3])
@pytest.mark.parametrize("limit", [0.0, 2.5, 1e6])
def test_clipping(limit, start, gpu):
    on_device = OnDevice(gpu, start=start)
    norm = update_rules.gradient_norm([arrays[1] for arrays in on_device.host])
    scale = update_rules.clip_scale(norm, limit)
    clip = on_device.parameters.find_clip(limit)
    found = np.empty(2, np.float32)
    gpu.download(found, clip)
    np.testing.assert_allclose(found, [scale, norm], rtol=1e-5)
    on_device.parameters.update("sgd", 1.0, (0.0,), clip=clip)
    lr_mults = on_device.lr_mults
    for (data, diff, history), lr_mult in zip(on_device.host, lr_mults, strict=True):
        diff *= scale * lr_mult
        history[...] = diff
        data -= diff
    on_device.compare(on_device.host)


def test_norm_does_not_depend_on_the_order(gpu):
    norms = set()
    for order in ORDERS:
        if isinstance(gpu.driver, EmulatedDriver):
            gpu.driver.thread_order = gpu.driver.block_order = order
        found = np.empty(2, np.float32)
        gpu.download(found, OnDevice(gpu).parameters.find_clip(1.0))
        norms.add(found.tobytes())
    assert len(norms) == 1


def test_nan_clips_nothing(gpu):
    on_device = OnDevice(gpu)
    gpu.upload(on_device.device[0][1], np.full(1, np.nan, np.float32))
    found = np.empty(2, np.float32)
    gpu.download(found, on_device.parameters.find_clip(1.0))
    assert found[0] == 1 and np.isnan(found[1])


def test_no_parameters(gpu):
    parameters = Parameters([])
    parameters.place([], [], [])
    parameters.update("sgd", RATE, (0.9,), clip=parameters.find_clip(1.0))
    found = np.empty(2, np.float32)
    gpu.download(found, parameters.find_clip(1.0))
    np.testing.assert_array_equal(found, [1, 0])


def test_table_is_copied_only_when_it_changes(gpu):
    on_device = OnDevice(gpu)
    uploads = gpu.uploads
    on_device.place()
    assert gpu.uploads == uploads
    on_device.lr_mults[0] = 3
    on_device.place()
    assert gpu.uploads == uploads + 1


# Solvers


@pytest.mark.parametrize("case", golden.cases("solver"), ids=golden.case_id)
def test_iterations_are_caffes(case, tmp_path, gpu):
    caffe_spn.set_mode_gpu()
    with golden.copied(case, tmp_path):
        arrays = np.load(case["name"] + ".npz")
        solver = get_solver(case["name"] + ".solver.prototxt")
        if "initial_weights" not in case:
            for key, value in golden.part(arrays, "init").items():
                golden.param_blob(solver.net, key).data[...] = value
        for iteration in range(1, 11):
            solver.step(1)
            for key, want in golden.part(arrays, f"iter/{iteration}").items():
                golden.compare(case, key, golden.param_blob(solver.net, key).data, want)


@pytest.mark.parametrize("case", golden.cases("solver"), ids=golden.case_id)
def test_resumes_from_caffes_snapshot(case, tmp_path, gpu):
    caffe_spn.set_mode_gpu()
    with golden.copied(case, tmp_path):
        arrays = np.load(case["name"] + ".npz")
        solver = get_solver(case["name"] + ".solver.prototxt")
        solver.restore(f"{case['name']}_iter_5.solverstate")
        for iteration in range(6, 11):
            solver.step(1)
            for key, want in golden.part(arrays, f"resumed/{iteration}").items():
                golden.compare(case, key, golden.param_blob(solver.net, key).data, want)


def train(folder, text, iterations=3, net=NET):
    folder.mkdir(exist_ok=True)
    solver = make_solver(folder, text, net)
    solver.step(iterations)
    return solver


@pytest.mark.parametrize("kind", SOLVERS)
def test_resumed_training_equals_an_uninterrupted_one(kind, tmp_path, gpu):
    caffe_spn.set_mode_gpu()
    momentum = "" if kind in ("AdaGrad", "RMSProp") else "momentum: 0.9"
    text = f'type: "{kind}" {momentum} delta: 1e-4 snapshot_prefix: "{tmp_path}/s"'
    whole = train(tmp_path, text)
    whole.snapshot()
    whole.step(2)
    resumed = train(tmp_path, text, 0)
    resumed.restore(f"{tmp_path}/s_iter_3.solverstate")
    resumed.step(2)
    np.testing.assert_array_equal(weights(resumed), weights(whole))
    for mine, theirs in itertools.zip_longest(resumed.history, whole.history):
        np.testing.assert_array_equal(mine, theirs)


def test_resumed_dropout_goes_on_with_the_same_numbers(tmp_path, gpu):
    caffe_spn.set_mode_gpu()
    text = f'snapshot_prefix: "{tmp_path}/s" random_seed: 5'
    dropout = 'layer { name: "drop" type: "Dropout" bottom: "x" top: "kept" }'
    net = DATA + dropout + LEARNER.replace('bottom: "x"', 'bottom: "kept"')
    whole = train(tmp_path, text, net=net)
    whole.snapshot()
    whole.step(3)
    for start, iterations in ((None, 6), ("s_iter_3.solverstate", 3)):
        other = train(tmp_path, text, 0, net)
        if start is not None:
            other.restore(tmp_path / start)
        other.step(iterations)
        np.testing.assert_array_equal(weights(other), weights(whole))


def test_moved_between_devices_in_the_middle(tmp_path, gpu):
    text = "momentum: 0.9 weight_decay: 0.01"
    wanted = weights(train(tmp_path / "cpu", text, 6))
    solver = train(tmp_path / "both", text, 2)
    for set_mode in (caffe_spn.set_mode_gpu, caffe_spn.set_mode_cpu):
        set_mode()
        solver.step(2)
    np.testing.assert_allclose(weights(solver), wanted, rtol=1e-5)


def test_clipping_is_logged_as_on_the_cpu(tmp_path, gpu, caplog):
    logged = []
    for set_mode in (caffe_spn.set_mode_cpu, caffe_spn.set_mode_gpu):
        set_mode()
        caplog.clear()
        with caplog.at_level(logging.INFO, "caffe_spn"):
            train(tmp_path, "clip_gradients: 0.05")
        logged.append([m for m in caplog.messages if "clipping" in m])
    assert len(logged[0]) == 3
    assert logged[1] == logged[0]


def test_updates_read_nothing_back(tmp_path, gpu):
    caffe_spn.set_mode_gpu()
    solver = train(tmp_path, "clip_gradients: 0.05 momentum: 0.9")
    # One pass, so that the diffs are on the device.
    solver.net.clear_param_diffs()
    copies = gpu.uploads, gpu.downloads
    launches = gpu.launches
    solver.apply_update()
    assert gpu.launches == launches + 3
    assert (gpu.uploads, gpu.downloads) == copies
