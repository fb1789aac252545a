"""Scans and propagation on arrays, in compiled kernels (float32) and NumPy (float64)."""

from concurrent.futures import ThreadPoolExecutor
from itertools import product

import numpy as np
import pytest

from caffe_spn import cpu
from caffe_spn.cpu import recurrence
from tests.cpu.recurrence_reference import (
    CLIP,
    MAX,
    MEAN,
    NONE,
    ONE_WAY,
    SHAPES,
    SUM,
    SUM_ABS,
    THREE_WAY,
    expected_propagation,
    expected_scan,
    random_inputs,
)

TOLERANCE = {np.float32: 5e-6, np.float64: 1e-12}
by_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
by_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
RULES = list(product((THREE_WAY, ONE_WAY), (SUM_ABS, CLIP, NONE), (MAX, SUM, MEAN)))


class Run:
    """One propagation forward and backward, with all it keeps."""

    def __init__(self, x, guidance, *rule, out_diff=None):
        rule = rule or (THREE_WAY, SUM_ABS, MAX)
        self.x, self.guidance, self.rule = x, guidance, rule
        self.out = np.empty_like(x)
        self.argmax = np.empty(recurrence.argmax_shape(x.shape, rule[2]), np.uint8)
        kept = recurrence.checkpoints_shape(x.shape, 4, x.dtype)
        self.checkpoints = np.empty(kept, np.float32)
        recurrence.propagate(x, guidance, self.out, *rule, self.argmax, self.checkpoints)
        if out_diff is not None:
            self.backward(out_diff)

    def backward(self, out_diff, guidance_diff=None, add=False):
        self.x_diff = np.full_like(self.x, np.nan)
        fresh = np.full_like(self.guidance, np.nan)
        self.guidance_diff = fresh if guidance_diff is None else guidance_diff
        recurrence.propagate_backward(
            self.x,
            self.guidance,
            out_diff,
            self.argmax,
            self.checkpoints,
            self.x_diff,
            self.guidance_diff,
            *self.rule,
            add_to_guidance=add,
        )


@by_dtype
@by_shape
@pytest.mark.parametrize("direction", range(4))
def test_scan(direction, shape, dtype):
    rng = np.random.default_rng(0)
    x, *gates = (rng.standard_normal(shape).astype(dtype) / 3 for _ in range(4))
    h = np.empty_like(x)
    recurrence.scan(x, *gates, h, direction)
    wanted = expected_scan(x.astype(np.float64), gates, direction)
    np.testing.assert_allclose(h, wanted, rtol=0, atol=TOLERANCE[dtype])


@by_dtype
@by_shape
def test_propagation(shape, dtype):
    x, guidance = random_inputs(shape, dtype=dtype)
    out = np.empty_like(x)
    recurrence.propagate(x, guidance, out)
    wanted = expected_propagation(x, guidance)
    np.testing.assert_allclose(out, wanted, rtol=0, atol=TOLERANCE[dtype])


@by_dtype
@pytest.mark.parametrize("rule", RULES)
def test_every_rule(rule, dtype):
    x, guidance = random_inputs((1, 2, 9, 18), rule[0], dtype)
    out = np.empty_like(x)
    recurrence.propagate(x, guidance, out, *rule)
    wanted = expected_propagation(x, guidance, *rule)
    np.testing.assert_allclose(out, wanted, rtol=0, atol=4 * TOLERANCE[dtype])


@by_dtype
@pytest.mark.parametrize("integration", [MAX, SUM])
def test_training_computes_the_same(integration, dtype):
    x, guidance = random_inputs((1, 5, 70, 20), dtype=dtype)
    out = np.empty_like(x)
    rule = (THREE_WAY, CLIP, integration)
    recurrence.propagate(x, guidance, out, *rule)
    np.testing.assert_array_equal(Run(x, guidance, *rule).out, out)


@by_shape
@pytest.mark.parametrize("rule", [(THREE_WAY, SUM_ABS, MAX), (ONE_WAY, CLIP, MAX)])
def test_compiled_and_numpy_derivatives_agree(rule, shape):
    compare_paths(shape, rule)


@pytest.mark.parametrize("rule", RULES)
def test_compiled_and_numpy_derivatives_agree_for_every_rule(rule):
    compare_paths((2, 2, 9, 18), rule)


def compare_paths(shape, rule):
    x, guidance = random_inputs(shape, rule[0])
    out_diff = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    fast = Run(x, guidance, *rule)
    plain = Run(x.astype(np.float64), guidance.astype(np.float64), *rule)
    # Two results may be equal in float32 only: there the winner is chosen once, for both.
    plain.argmax[...] = fast.argmax
    fast.backward(out_diff)
    plain.backward(out_diff.astype(np.float64))
    np.testing.assert_allclose(fast.x_diff, plain.x_diff, rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(fast.guidance_diff, plain.guidance_diff, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("direction", range(4))
@by_shape
def test_compiled_and_numpy_derivatives_of_a_scan_agree(shape, direction):
    rng = np.random.default_rng(0)
    results = []
    arrays = [rng.standard_normal(shape) / 3 for _ in range(5)]
    for dtype in (np.float32, np.float64):
        x, g1, g2, g3, h_diff = (a.astype(dtype) for a in arrays)
        h, diffs = np.empty_like(x), [np.full_like(x, np.nan) for _ in range(4)]
        kept = np.empty(recurrence.checkpoints_shape(shape, 1, dtype), np.float32)
        recurrence.scan(x, g1, g2, g3, h, direction, kept)
        recurrence.scan_backward(x, g1, g2, g3, h_diff, direction, kept, *diffs)
        results.append(diffs)
    for fast, plain in zip(*results, strict=True):
        np.testing.assert_allclose(fast, plain, rtol=1e-4, atol=1e-5)


@by_dtype
def test_guidance_derivatives_add_up(dtype):
    x, guidance = random_inputs((1, 5, 20, 70), dtype=dtype)
    out_diff = np.ones_like(x)
    once = Run(x, guidance, out_diff=out_diff)
    twice = Run(x, guidance)
    twice.backward(out_diff, guidance_diff=once.guidance_diff.copy(), add=True)
    np.testing.assert_allclose(twice.guidance_diff, 2 * once.guidance_diff, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(twice.x_diff, once.x_diff)


@pytest.mark.parametrize("integration", [MAX, SUM, MEAN])
def test_few_planes_and_many_give_the_same(integration, monkeypatch):
    rule = (THREE_WAY, CLIP, integration)
    x, guidance = random_inputs((1, 2, 40, 70))
    results = []
    for planes in (0, 1000):
        monkeypatch.setattr(recurrence, "PLANES_FOR_EACH_THREAD", planes)
        run = Run(x, guidance, *rule, out_diff=np.ones_like(x))
        results.append((run.out, run.argmax, run.x_diff, run.guidance_diff))
    for together, apart in zip(*results, strict=True):
        np.testing.assert_allclose(together, apart, rtol=1e-6, atol=1e-7)


def test_without_numba(monkeypatch):
    x, guidance = random_inputs((2, 3, 7, 19))
    out_diff = np.ones_like(x)
    fast = Run(x, guidance, out_diff=out_diff)
    monkeypatch.setattr(cpu, "compiled", lambda: False)
    plain = Run(x, guidance, out_diff=out_diff)
    assert plain.checkpoints.size == 0 and plain.out.dtype == np.float32
    np.testing.assert_allclose(plain.out, fast.out, rtol=0, atol=5e-6)
    np.testing.assert_allclose(plain.x_diff, fast.x_diff, rtol=1e-4, atol=1e-4)


def test_threads_may_call_at_the_same_time():
    x, guidance = random_inputs((2, 4, 33, 17))
    wanted = Run(x, guidance).out
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda _: Run(x, guidance).out, range(16)))
    for out in runs:
        np.testing.assert_array_equal(out, wanted)
