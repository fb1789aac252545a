import math

import numpy as np
import pytest

from caffe_spn.errors import PrototxtError, ShapeError
from caffe_spn.gradient_check import check_gradients
from tests import golden_cases
from tests.layers.running import Run, normal

DEFINITION = 'type: "LSTMUnit"'
SHAPES = {"several": (3, 4), "one stream": (1, 5), "one cell": (4, 1), "single": (1, 1)}


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def expected(c_prev, gate_input, cont):
    """One cell at a time; (c, h) for c_prev (1, N, H)."""
    c, h = np.zeros(c_prev.shape), np.zeros(c_prev.shape)
    _, streams, size = c_prev.shape
    for n, d in np.ndindex(streams, size):
        i, f, o = (sigmoid(gate_input[0, n, k * size + d]) for k in range(3))
        g = math.tanh(gate_input[0, n, 3 * size + d])
        c[0, n, d] = f * cont[0, n] * c_prev[0, n, d] + i * g
        h[0, n, d] = o * math.tanh(c[0, n, d])
    return c, h


def bottoms(streams, size, seed=0):
    cont = np.random.default_rng(seed).integers(0, 2, (1, streams)).astype(np.float32)
    return normal(1, streams, size, seed=seed), normal(1, streams, 4 * size, seed=seed + 1), cont


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_forward(shape):
    arrays = bottoms(*shape)
    run = Run(DEFINITION, *arrays, tops=2)
    for blob, wanted in zip(run.top, expected(*arrays), strict=True):
        np.testing.assert_allclose(blob.data, wanted, 1e-5, 1e-6)


@pytest.mark.parametrize("cont", [0, 1, 0.25])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_gradient(shape, cont):
    streams, size = shape
    inputs = [(1, streams, size), (1, streams, 4 * size), np.full((1, streams), cont)]
    check_gradients(DEFINITION, inputs, tops=2)


def test_extreme_gates_stay_finite():
    run = Run(DEFINITION, [[[2.0]]], [[[200, 200, -200, -200]]], [[1]], tops=2)
    assert run.top[0].data.item() == 1 and run.top[1].data.item() == 0
    assert all(np.isfinite(diff).all() for diff in run.backward(1, 1)[:2])


def test_only_wanted_diffs_are_written():
    run = Run(DEFINITION, *bottoms(2, 3), tops=2)
    full = [diff.copy() for diff in run.backward(1, 1)[:2]]
    for wanted, other in ((0, 1), (1, 0)):
        for blob in run.bottom:
            blob.diff.fill(7)
        run.backward(1, 1, propagate=[wanted == 0, wanted == 1, False])
        np.testing.assert_array_equal(run.bottom[wanted].diff, full[wanted])
        assert (run.bottom[other].diff == 7).all() and (run.bottom[2].diff == 7).all()


def test_backward_leaves_tops_and_what_forward_kept():
    run = Run(DEFINITION, *bottoms(2, 3), tops=2)
    once = [diff.copy() for diff in run.backward(1, 2)[:2]]
    np.testing.assert_array_equal(run.top[0].diff, 1)
    run.top[0].data.fill(9)  # what a layer in place above does
    for diff, before in zip(run.backward(1, 2), once, strict=False):
        np.testing.assert_array_equal(diff, before)


def test_nan_stays_in_its_stream():
    c_prev, gate_input, _ = bottoms(3, 2)
    gate_input[0, 1] = np.nan
    run = Run(DEFINITION, c_prev, gate_input, np.ones((1, 3)), tops=2)
    for blob in run.top:
        assert np.isnan(blob.data).all(axis=(0, 2)).tolist() == [False, True, False]


def test_the_number_of_streams_may_change():
    run = Run(DEFINITION, *bottoms(2, 3), tops=2)
    arrays = bottoms(5, 3, seed=4)
    for blob, value in zip(run.bottom, arrays, strict=True):
        blob.reshape(*value.shape)
        blob.data[...] = value
    run.forward()
    np.testing.assert_allclose(run.top[1].data, expected(*arrays)[1], 1e-5, 1e-6)


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4)])
def test_one_step_is_needed(shape):
    with pytest.raises(ShapeError, match=r"it must be \(1, N, H\), one step of N streams"):
        Run(DEFINITION, normal(*shape), normal(1, 3, 16), np.ones((1, 3)), tops=2)


def test_gate_input_must_have_four_values_for_each_cell():
    with pytest.raises(ShapeError, match=r"\(gate_input\) is \(1, 3, 12\); .* must be \(1, 3, 16"):
        Run(DEFINITION, normal(1, 3, 4), normal(1, 3, 12), np.ones((1, 3)), tops=2)


@pytest.mark.parametrize("shape", [(1, 2), (3,), (1, 3, 1)])
def test_one_marker_for_each_stream_is_needed(shape):
    with pytest.raises(ShapeError, match=r"bottom 2 \(cont\) is .* it must be \(1, 3\)"):
        Run(DEFINITION, normal(1, 3, 4), normal(1, 3, 16), np.ones(shape), tops=2)


def test_markers_have_no_gradient():
    run = Run(DEFINITION, *bottoms(2, 3), tops=2)
    with pytest.raises(PrototxtError, match=r"cannot compute a gradient of bottom 2 \(cont\)"):
        run.backward(1, 1, propagate=[True, True, True])


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("LSTMUnit",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
