"""What RNN and LSTM carry from one batch to the next, and from a snapshot to a resumed training."""

import json

import numpy as np
import pytest

from caffe_spn.errors import DataError
from caffe_spn.gradient_check import check_gradients
from caffe_spn.layers.lstm import LSTM
from caffe_spn.layers.rnn import RNN
from tests.layers.running import Run, normal
from tests.layers.test_lstm import markers
from tests.layers.test_recurrent import STATES, both, definition, feed, net_of, params_of, parsed
from tests.solver_cases import make_solver


@both
def test_the_first_forward_begins_at_zero(kind):
    x = normal(3, 2, 4)
    run = Run(definition(kind), x, np.ones((3, 2)))
    cont = np.ones((3, 2))
    cont[0] = 0
    other = Run(definition(kind), x, cont, params=params_of(run))
    np.testing.assert_array_equal(run.out, other.out)
    assert np.abs(feed(run, x, np.ones((3, 2))) - other.out).max() > 1e-3  # the second does not


@both
def test_reset_forgets(kind):
    x, cont = normal(3, 2, 4), np.ones((3, 2))
    run = Run(definition(kind), x, cont)
    first = run.out.copy()
    run.layer.reset()
    np.testing.assert_array_equal(feed(run, x, cont), first)


@both
def test_a_zero_marker_in_the_middle_begins_anew(kind):
    x, cont = normal(5, 1, 4), np.ones((5, 1))
    cont[2] = 0
    run = Run(definition(kind), x, cont)
    fresh = Run(definition(kind), x[2:], cont[2:], params=params_of(run))
    np.testing.assert_allclose(run.out[2:], fresh.out, 1e-6, 1e-7)
    top_diff = np.zeros(run.out.shape)
    top_diff[3] = 1
    run.backward(top_diff)
    assert not run.bottom[0].diff[:2].any() and run.bottom[0].diff[2].any()


@both
def test_carried_equals_exposed(kind):
    """Output and gradients, with the exposed last states left out of the loss."""
    batches = [(normal(3, 2, 4, seed=i), markers(3, 2, seed=i, first=[1, 0])) for i in (1, 2)]
    carrying = Run(definition(kind), *batches[0])
    states = [np.zeros((1, 2, 3))] * STATES[kind]
    text = definition(kind, "expose_hidden: true")
    tops = 1 + STATES[kind]
    exposing = Run(text, *batches[0], *states, tops=tops, params=params_of(carrying))
    np.testing.assert_array_equal(exposing.out, carrying.out)
    last = [blob.data.copy() for blob in exposing.top[1:]]
    got, want = feed(exposing, *batches[1], *last), feed(carrying, *batches[1])
    np.testing.assert_array_equal(got, want)
    top_diff = normal(3, 2, 3, seed=5)
    exposing.backward(top_diff, *[0] * STATES[kind])
    carrying.backward(top_diff)
    np.testing.assert_array_equal(exposing.bottom[0].diff, carrying.bottom[0].diff)
    for ours, theirs in zip(exposing.layer.blobs, carrying.layer.blobs, strict=True):
        np.testing.assert_array_equal(ours.diff, theirs.diff)


@pytest.mark.parametrize("cls", [LSTM, RNN])
def test_gradient_with_a_carried_state(cls):
    class Carrying(cls):
        def reshape(self, bottom, top):
            super().reshape(bottom, top)
            for blob in self.carried.blobs:
                blob.data[...] = np.arange(6).reshape(1, 2, 3) / 5

    layer = Carrying(parsed(definition(cls.type)), dtype=np.float64)
    check_gradients(layer, [(3, 2, 4), markers(3, 2, first=[1, 0])])


@both
def test_generation_one_step_at_a_time(kind):
    """T may change, and the state stays: what a net was trained on is then run step by step."""
    x, cont = normal(6, 2, 4), markers(6, 2, first=0)
    run = Run(definition(kind), x, cont)
    whole = run.out.copy()
    run.layer.reset()
    for t in range(6):
        np.testing.assert_allclose(feed(run, x[t : t + 1], cont[t : t + 1]), whole[t : t + 1], 1e-5)
        assert run.out.shape == (1, 2, 3)


@both
def test_fewer_streams_keep_the_first_states(kind):
    x, cont = normal(2, 3, 4), np.ones((2, 3))
    run = Run(definition(kind), x, cont)
    same = Run(definition(kind), x, cont, params=params_of(run))
    want = feed(same, x, cont)
    np.testing.assert_allclose(feed(run, x[:, :2], cont[:, :2]), want[:, :2], 1e-5)


@both
def test_more_streams_begin_at_zero(kind):
    x, cont = normal(2, 3, 4), np.ones((2, 3))
    run = Run(definition(kind), x[:, :2], cont[:, :2])
    fresh = Run(definition(kind), x, cont, params=params_of(run))
    np.testing.assert_array_equal(feed(run, x, cont), fresh.out)


@both
def test_a_layer_in_place_above_disturbs_nothing(kind):
    x, cont, top_diff = normal(3, 2, 4), np.ones((3, 2)), normal(3, 2, 3, seed=1)
    runs = [Run(definition(kind), x, cont)]
    runs.append(Run(definition(kind), x, cont, params=params_of(runs[0])))
    runs[1].out.fill(100)
    diffs = [run.backward(top_diff)[0].copy() for run in runs]
    np.testing.assert_array_equal(*diffs)
    np.testing.assert_array_equal(feed(runs[0], x, cont), feed(runs[1], x, cont))


# Kept with a snapshot


@both
def test_state_survives_json(kind):
    x, cont = normal(3, 2, 4), np.ones((3, 2))
    run = Run(definition(kind), x, cont)
    state = json.loads(json.dumps(run.layer.state()))
    want = feed(run, x, cont)
    feed(run, x, cont)
    run.layer.restore_state(state)
    np.testing.assert_array_equal(feed(run, x, cont), want)


@both
@pytest.mark.parametrize("state", [{}, {"h": "AAAA", "c": "AAAA"}, {"h": 1, "c": 1}, {"h": "é"}])
def test_a_wrong_state_is_refused(kind, state):
    run = Run(definition(kind), normal(3, 2, 4), np.ones((3, 2)))
    before = run.layer.state()
    with pytest.raises(DataError, match=r"cannot go on from .*; its state is h.* 3 values"):
        run.layer.restore_state(state)
    assert run.layer.state() == before


@both
def test_exposed_states_are_not_kept(kind):
    states = [normal(1, 2, 3)] * STATES[kind]
    text = definition(kind, "expose_hidden: true")
    run = Run(text, normal(3, 2, 4), np.ones((3, 2)), *states, tops=1 + STATES[kind])
    assert run.layer.state() == {}
    run.layer.restore_state({})


@both
@pytest.mark.parametrize("file_format", ["BINARYPROTO", "HDF5"])
def test_resumed_training_equals_uninterrupted(kind, file_format, tmp_path):
    text = f'momentum: 0.9 snapshot_prefix: "{tmp_path}/s" snapshot_format: {file_format}'
    text += " test_iter: 1 test_interval: 2 random_seed: 3"
    solver = make_solver(tmp_path, text, net=net_of(kind))
    solver.step(2)
    solver.snapshot()
    solver.step(2)
    end = ".h5" if file_format == "HDF5" else ""
    resumed = make_solver(tmp_path, text, net=net_of(kind))
    resumed.restore(f"{tmp_path}/s_iter_2.solverstate{end}")
    layer = resumed.net.layer_dict["i"]
    assert (
        layer.state() == resumed.net.layer_dict["i"].state() and layer.carried.blobs[0].data.any()
    )
    resumed.step(2)
    for ours, theirs in zip(resumed.net.params["i"], solver.net.params["i"], strict=True):
        np.testing.assert_array_equal(ours.data, theirs.data)
    for nets in ((resumed.net, solver.net), (resumed.test_nets[0], solver.test_nets[0])):
        states = [net.layer_dict["i"].state() for net in nets]
        assert states[0] == states[1]


@both
def test_the_state_matters_for_a_resumed_training(kind, tmp_path):
    """Without what is kept beside the snapshot the sequences begin anew, as Caffe's do."""
    text = f'snapshot_prefix: "{tmp_path}/s" random_seed: 3'
    solver = make_solver(tmp_path, text, net=net_of(kind))
    solver.step(2)
    solver.snapshot()
    (tmp_path / "s_iter_2.state.json").unlink()
    resumed = make_solver(tmp_path, text, net=net_of(kind))
    resumed.restore(f"{tmp_path}/s_iter_2.solverstate")
    assert solver.net.layer_dict["i"].carried.blobs[0].data.any()
    assert not resumed.net.layer_dict["i"].carried.blobs[0].data.any()
