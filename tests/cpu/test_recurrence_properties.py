"""What must hold of spatial propagation whatever the numbers are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_spn.cpu import recurrence
from tests.cpu.recurrence_reference import (
    CLIP,
    MAX,
    MEAN,
    ONE_WAY,
    SUM,
    SUM_ABS,
    THREE_WAY,
    random_inputs,
)
from tests.cpu.test_recurrence import Run

by_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
by_connection = pytest.mark.parametrize("connection", [THREE_WAY, ONE_WAY])
shapes = st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 20), st.integers(1, 20))
modest = settings(max_examples=25, deadline=None)


def propagated(x, guidance, *rule):
    out = np.empty_like(x)
    recurrence.propagate(x, guidance, out, *rule)
    return out


def impulse(height, width, row, column, channels=1):
    x = np.zeros((1, channels, height, width), np.float32)
    x[:, :, row, column] = 1
    return x


def offsets(height, width, row, column):
    """Each element's distance from (row, column): downwards and to the right."""
    return np.arange(height)[:, None] - row, np.arange(width)[None, :] - column


@by_dtype
@by_connection
@pytest.mark.parametrize("integration", [MAX, MEAN])
def test_zero_gates_change_nothing(integration, connection, dtype):
    x, guidance = random_inputs((2, 3, 7, 19), connection, dtype)
    out = propagated(x, np.zeros_like(guidance), connection, SUM_ABS, integration)
    np.testing.assert_array_equal(out, x)


@by_dtype
def test_zero_gates_have_finite_derivatives(dtype):
    x, guidance = random_inputs((1, 2, 9, 17), dtype=dtype)
    run = Run(x, np.zeros_like(guidance), out_diff=np.ones_like(x))
    assert np.isfinite(run.x_diff).all() and np.isfinite(run.guidance_diff).all()
    np.testing.assert_array_equal(run.x_diff, 1)


@by_dtype
@by_connection
@pytest.mark.parametrize("value", [-3.25, 0.1])
def test_a_constant_map_stays_constant(value, connection, dtype):
    _, guidance = random_inputs((2, 3, 7, 19), connection, dtype)
    x = np.full((2, 3, 7, 19), value, dtype)
    np.testing.assert_array_equal(propagated(x, guidance, connection, CLIP), x)


@modest
@given(shapes, st.integers(0, 99))
def test_a_reversed_scan_is_flip_scan_flip(shape, seed):
    rng = np.random.default_rng(seed)
    maps = [rng.standard_normal(shape).astype(np.float32) / 3 for _ in range(4)]
    for direction, axis in ((0, 3), (2, 2)):
        flipped = [np.ascontiguousarray(np.flip(m, axis)) for m in maps]
        h, reverse = np.empty_like(maps[0]), np.empty_like(maps[0])
        recurrence.scan(*flipped, h, direction)
        recurrence.scan(*maps, reverse, direction + 1)
        np.testing.assert_array_equal(np.flip(h, axis), reverse)


@modest
@given(shapes, st.integers(0, 99))
def test_a_vertical_scan_is_transpose_scan_transpose(shape, seed):
    rng = np.random.default_rng(seed)
    maps = [rng.standard_normal(shape).astype(np.float32) / 3 for _ in range(4)]
    turned = [np.ascontiguousarray(np.swapaxes(m, 2, 3)) for m in maps]
    h, vertical = np.empty_like(turned[0]), np.empty_like(maps[0])
    recurrence.scan(*turned, h, 0)
    recurrence.scan(*maps, vertical, 2)
    np.testing.assert_array_equal(np.swapaxes(h, 2, 3), vertical)


@modest
@given(shapes, st.integers(0, 99), st.sampled_from([SUM_ABS, CLIP]))
def test_positive_gates_keep_the_range(shape, seed, normalization):
    x, guidance = random_inputs(shape, seed=seed)
    out = propagated(x, np.abs(guidance), THREE_WAY, normalization)
    N, C = shape[:2]
    slack = 1e-5
    planes, results = x.reshape(N * C, -1), out.reshape(N * C, -1)
    assert (results.max(1) <= planes.max(1) + slack).all()
    assert (results.min(1) >= planes.min(1) - slack).all()


@pytest.mark.parametrize("direction", range(4))
def test_an_impulse_spreads_over_a_triangle(direction):
    height, width, row, column = 11, 14, 5, 6
    x = impulse(height, width, row, column)
    gate = np.full_like(x, 0.25)
    h = np.empty_like(x)
    recurrence.scan(x, gate, gate, gate, h, direction)
    down, right = offsets(height, width, row, column)
    along = (right, -right, down, -down)[direction]
    across = np.abs(down if direction < 2 else right)
    np.testing.assert_array_equal(h[0, 0] > 0, (across <= along) & (along >= 0))


def test_an_impulse_reaches_the_whole_plane_in_four_directions():
    x = impulse(17, 12, 4, 7)
    # Gates that leave room for x: where they sum to 1, it counts at the border only.
    guidance = np.full((1, 12, 17, 12), 0.25, np.float32)
    assert (propagated(x, guidance, THREE_WAY, CLIP) > 0).all()


def test_one_way_an_impulse_reaches_its_row_and_column():
    x = impulse(9, 12, 4, 7)
    guidance = np.full((1, 4, 9, 12), 0.5, np.float32)
    down, right = offsets(9, 12, 4, 7)
    reached = propagated(x, guidance, ONE_WAY, CLIP)[0, 0] > 0
    np.testing.assert_array_equal(reached, (down == 0) | (right == 0))


@pytest.mark.parametrize("direction", range(4))
def test_a_signal_does_not_grow_over_4096_steps(direction):
    # Theorem 3: with |g1| + |g2| + |g3| <= 1 a scan has no mode that grows.
    rng = np.random.default_rng(0)
    shape = (1, 1, 8, 4096) if direction < 2 else (1, 1, 4096, 8)
    gates = rng.standard_normal((3, *shape)).astype(np.float32)
    gates /= np.abs(gates).sum(axis=0) * np.float32(1 + 1e-6)
    x = np.zeros(shape, np.float32)
    start = {0: np.s_[..., 0], 1: np.s_[..., -1], 2: np.s_[:, :, 0], 3: np.s_[:, :, -1]}
    x[start[direction]] = rng.standard_normal(8)
    h = np.empty_like(x)
    recurrence.scan(x, *gates, h, direction)
    size = np.abs(h).max(axis=2 if direction < 2 else 3).ravel()
    size = size[::-1] if direction % 2 else size
    assert size[0] > 0
    assert (np.diff(size) <= 1e-6).all()


def test_a_long_propagation_stays_bounded():
    x, guidance = random_inputs((1, 1, 16, 4096))
    out = propagated(x, guidance)
    first, last = np.abs(out[..., :512]).max(), np.abs(out[..., -512:]).max()
    assert np.isfinite(out).all()
    assert last < 3 * first


@by_dtype
def test_the_first_direction_wins_ties(dtype):
    # On a constant map with positive gates all directions are equal everywhere.
    x = np.ones((1, 2, 6, 9), dtype)
    guidance = np.ones((1, 24, 6, 9), dtype)
    run = Run(x, guidance, out_diff=np.ones_like(x))
    np.testing.assert_array_equal(run.argmax, 0)
    only_left_right = np.empty_like(x)
    third = np.full_like(x, 1 / 3)
    kept = np.empty(recurrence.checkpoints_shape(x.shape, 1, dtype), np.float32)
    # At the upper and lower end one of the three gates counts as 0 in the scan.
    recurrence.scan(x, third, third, third, np.empty_like(x), 0, kept)
    gates = [np.empty_like(x) for _ in range(3)]
    recurrence.scan_backward(
        x, third, third, third, np.ones_like(x), 0, kept, only_left_right, *gates
    )
    np.testing.assert_allclose(run.x_diff, only_left_right, atol=1e-6)


@by_dtype
@pytest.mark.parametrize("integration", [MAX, SUM])
@pytest.mark.parametrize("where", ["x", "guidance"])
@pytest.mark.parametrize("shape", [(1, 1, 9, 20), (1, 5, 9, 20)], ids=["few", "many"])
def test_nan_is_not_lost(shape, where, integration, dtype):
    x, guidance = random_inputs(shape, dtype=dtype)
    (x if where == "x" else guidance)[0, 0, 4, 7] = np.nan
    for training in (False, True):
        rule = (THREE_WAY, SUM_ABS, integration)
        out = Run(x, guidance, *rule).out if training else propagated(x, guidance, *rule)
        # From its own place it runs on to the right, as any value does.
        assert np.isnan(out[0, 0, 4, 7:]).all()


@by_dtype
def test_nan_in_the_derivative_is_not_lost(dtype):
    x, guidance = random_inputs((1, 1, 9, 20), dtype=dtype)
    out_diff = np.ones_like(x)
    out_diff[0, 0, 4, 7] = np.nan
    run = Run(x, guidance, out_diff=out_diff)
    assert np.isnan(run.x_diff[0, 0, 4, 7])
    assert np.isnan(run.guidance_diff).any()
