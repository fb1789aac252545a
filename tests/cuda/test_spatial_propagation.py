"""The recurrence's kernels, against plain loops and the CPU's layers."""

from itertools import product

import numpy as np
import pytest

import caffe_spn
from caffe_spn.cuda import gate_recurrent, recurrence, runtime, spatial_propagation
from caffe_spn.errors import ShapeError
from tests.cpu.recurrence_reference import (
    CONNECTIONS,
    INTEGRATIONS,
    NORMALIZATIONS,
    ONE_WAY,
    SHAPES,
    SUM_ABS,
    THREE_WAY,
    definition,
    expected_propagation,
    expected_scan,
    random_inputs,
)
from tests.cuda.emulation.driver import EmulatedDriver
from tests.layers.running import TEST, TRAIN, Run, normal

# Beyond the CPU's: maps of one warp with several elements a lane, of several warps, whose rows can
# and cannot be read four elements at a time, and more steps than one round of loads has.
MORE_SHAPES = {
    "one warp": (2, 2, 33, 64),
    "four elements": (1, 2, 128, 20),
    "not aligned": (1, 1, 65, 67),
    "warps": (1, 2, 6, 300),
    "tall warps": (1, 1, 262, 5),
    "512 threads": (1, 1, 1030, 3),
    "in memory": (1, 1, 2, 2056),
}


def gradients(text, x, guidance, phase=TRAIN):
    """Top and bottom diffs of the layer on the CPU, and in the mode of `gpu`."""
    out_diff = normal(*x.shape, seed=5)
    found = []
    for choose in (caffe_spn.set_mode_cpu, caffe_spn.set_mode_gpu):
        choose()
        run = Run(text, x, guidance, phase=phase)
        found.append([run.out.copy(), *(d.copy() for d in run.backward(out_diff))])
    return found


def check_layer(text, x, guidance, phase=TRAIN):
    cpu, gpu = gradients(text, x, guidance, phase)
    for wanted, got in zip(cpu, gpu, strict=True):
        scale = max(1, np.abs(wanted).max())
        np.testing.assert_allclose(got, wanted, rtol=0, atol=3e-5 * scale)


# One-way has variants of its own; the two sizes are one of each kind of launch.
@pytest.mark.parametrize(
    ("shape", "connection"),
    [(s, THREE_WAY) for s in SHAPES.values()]
    + [(SHAPES["tiles"], ONE_WAY), (SHAPES["blocks"], ONE_WAY)],
    ids=str,
)
def test_forward(gpu, shape, connection):
    caffe_spn.set_mode_gpu()
    x, guidance = random_inputs(shape, connection)
    text = definition(CONNECTIONS[connection])
    wanted = expected_propagation(x, guidance, connection, SUM_ABS, 0)
    for phase in (TRAIN, TEST):
        out = Run(text, x, guidance, phase=phase).out
        np.testing.assert_allclose(out, wanted, rtol=0, atol=1e-5 * max(1, np.abs(wanted).max()))


@pytest.mark.parametrize("shape", [*SHAPES.values(), *MORE_SHAPES.values()], ids=str)
def test_backward(gpu, shape):
    x, guidance = random_inputs(shape)
    check_layer(definition(normalization="CLIP"), x, guidance)


@pytest.mark.sanitized
@pytest.mark.parametrize(
    "rule", list(product(CONNECTIONS, NORMALIZATIONS, INTEGRATIONS)), ids="-".join
)
def test_rules(gpu, rule):
    x, guidance = random_inputs((2, 2, 6, 8), CONNECTIONS.index(rule[0]))
    check_layer(definition(*rule), x, guidance)


@pytest.mark.sanitized
@pytest.mark.parametrize("shape", [(1, 1, 3, 4), (1, 2, 37, 6), (1, 1, 4, 131)], ids=str)
def test_sizes_under_the_sanitizers(gpu, shape):
    x, guidance = random_inputs(shape)
    check_layer(definition(normalization="CLIP", units=2), x, guidance)


@pytest.mark.parametrize("phase", [TRAIN, TEST])
@pytest.mark.parametrize("units", [2, 3])
def test_units(gpu, units, phase):
    x, guidance = random_inputs((2, 3, 7, 20))
    check_layer(definition(normalization="CLIP", units=units), x, guidance, phase)


@pytest.mark.parametrize(("shape", "kept"), [((1, 2, 20, 12), False), ((1, 1, 130, 6), True)])
def test_the_gradient_between_units_of_small_maps_takes_no_memory_of_its_own(gpu, shape, kept):
    caffe_spn.set_mode_gpu()
    run = Run(definition(normalization="CLIP", units=2), *random_inputs(shape))
    run.backward(normal(*shape))
    assert ("between diff" in run.layer._gpu_workspaces) == kept


@pytest.mark.parametrize("shape", [(1, 2, 20, 12), (1, 1, 130, 6)], ids=["shared", "memory"])
def test_order_of_threads_does_not_matter(gpu_in_order, shape):
    x, guidance = random_inputs(shape)
    check_layer(definition(normalization="CLIP"), x, guidance)


def test_two_runs_are_equal_to_the_bit(gpu):
    x, guidance = random_inputs((1, 2, 9, 140))
    first, second = (gradients(definition(), x, guidance)[1] for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_zero_gates_keep_the_map(gpu):
    caffe_spn.set_mode_gpu()
    x = normal(1, 2, 9, 12)
    run = Run(definition(), x, np.zeros((1, 24, 9, 12), np.float32))
    np.testing.assert_array_equal(run.out, x)
    x_diff, guidance_diff = run.backward(np.ones_like(x))
    np.testing.assert_array_equal(x_diff, np.ones_like(x))
    assert np.isfinite(guidance_diff).all()


def test_first_direction_wins_ties(gpu):
    caffe_spn.set_mode_gpu()
    run = Run(definition(), np.ones((1, 1, 8, 8)), np.zeros((1, 12, 8, 8)))
    winners = np.empty((1, 1, 1, 8, 8), np.uint8)
    gpu.download(winners, run.layer.gpu_workspace("winners", winners.shape, np.uint8))
    np.testing.assert_array_equal(winners, 0)


def test_nan_stays_one(gpu):
    x, guidance = random_inputs((1, 1, 12, 16))
    x[0, 0, 5, 7] = np.nan
    cpu, on_gpu = gradients(definition(), x, guidance)
    np.testing.assert_array_equal(np.isnan(on_gpu[0]), np.isnan(cpu[0]))


def test_constant_map_stays_constant(gpu):
    caffe_spn.set_mode_gpu()
    _, guidance = random_inputs((1, 2, 19, 40))
    out = Run(definition(), np.full((1, 2, 19, 40), 0.7, np.float32), guidance).out
    np.testing.assert_array_equal(out, np.float32(0.7))


def test_bounded_over_many_columns(gpu):
    caffe_spn.set_mode_gpu()
    x, guidance = random_inputs((1, 1, 3, 1200))
    out = Run(definition(), x, np.abs(guidance), phase=TEST).out
    assert np.abs(out).max() <= np.abs(x).max() * (1 + 1e-4)


# One launch for each direction


def scan_layer(direction):
    horizontal, reverse = str(direction < 2).lower(), str(direction % 2 == 1).lower()
    return (
        'type: "GateRecurrent2dnoind" gaterecurrent2dnoind_param {'
        f" horizontal: {horizontal} reverse: {reverse} }}"
    )


@pytest.mark.sanitized
@pytest.mark.parametrize("direction", range(4))
@pytest.mark.parametrize("shape", [(2, 2, 5, 8), (1, 1, 7, 37), (1, 1, 1, 6)], ids=str)
def test_scan(gpu, shape, direction):
    check_scan(shape, direction)


def check_scan(shape, direction):
    arrays = [normal(*shape, seed=i) * (0.3 if i else 1) for i in range(4)]
    out_diff = normal(*shape, seed=9)
    found = []
    for choose in (caffe_spn.set_mode_cpu, caffe_spn.set_mode_gpu):
        choose()
        run = Run(scan_layer(direction), *arrays)
        found.append([run.out.copy(), *(d.copy() for d in run.backward(out_diff))])
    np.testing.assert_allclose(
        found[1][0], expected_scan(arrays[0], arrays[1:], direction), atol=1e-5
    )
    for wanted, got in zip(*found, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=3e-5)


@pytest.mark.parametrize("direction", [0, 3])
@pytest.mark.parametrize("shape", MORE_SHAPES.values(), ids=MORE_SHAPES)
def test_scan_of_more_sizes(gpu, shape, direction):
    check_scan(shape, direction)


# What is refused


def test_shapes_are_checked(gpu):
    x, guidance = gpu.array((1, 2, 4, 4)), gpu.array((1, 24, 4, 4))
    with pytest.raises(ShapeError, match=r"out is \(1, 2, 4, 5\).*must be \(1, 2, 4, 4\)"):
        spatial_propagation.propagate(x, guidance, gpu.array((1, 2, 4, 5)))
    with pytest.raises(ShapeError, match=r"guidance is \(1, 24, 4, 4\).*must be \(1, 8, 4, 4\)"):
        spatial_propagation.propagate(x, guidance, x, connection=ONE_WAY)
    with pytest.raises(ShapeError, match="float64"):
        h = gpu.array((1, 2, 4, 4), np.float64)
        gate_recurrent.forward(x, x, x, x, h, 0)


@pytest.mark.parametrize("longest", [1, 32, 33, 64, 100, 128, 129, 1024, 1025, 2048, 2049, 9000])
def test_threads_cover_the_line(longest):
    variants = (*recurrence.ONE_WARP, *recurrence.SEVERAL_WARPS)
    variant = recurrence.choose(longest, 1, variants)
    threads = variant.block(longest)
    assert threads % recurrence.WARP == 0 and threads <= variant.threads
    # Those that keep a line in memory stride over it.
    assert not variant.elements or threads * variant.elements >= longest


@pytest.mark.parametrize(("ordinal", "fits"), [(0, 120), (1, 64)], ids=["227 KB", "64 KB"])
def test_largest_map_in_shared_memory(gpu, emulated_only, monkeypatch, ordinal, fits):
    monkeypatch.setattr(caffe_spn.device, "_chosen", ordinal)
    before = runtime.install(EmulatedDriver(), ordinal)
    try:
        room = runtime.runtime().device.shared_memory
        assert spatial_propagation._shared_pitch(fits, fits) == (
            fits if 16 * fits * (fits + 4) > room else fits + 4
        )
        assert spatial_propagation._shared_pitch(fits + 1, fits + 1) == 0
        x, guidance = random_inputs((1, 1, fits, fits))
        check_layer(definition(normalization="CLIP"), x, guidance)
    finally:
        runtime.restore(before)
