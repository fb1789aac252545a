"""SpatialPropagation."""

from itertools import product

import numpy as np
import pytest

from caffe_spn.errors import PrototxtError, ShapeError
from caffe_spn.gradient_check import check_gradients
from tests.cpu.recurrence_reference import (
    CONNECTIONS,
    INTEGRATIONS,
    NORMALIZATIONS,
    ONE_WAY,
    SHAPES,
    THREE_WAY,
    definition,
    expected_propagation,
    random_inputs,
)
from tests.layers.running import TEST, TRAIN, Run, normal


def expected(x, guidance, connection, normalization, integration, units):
    rule = (
        CONNECTIONS.index(connection),
        NORMALIZATIONS.index(normalization),
        INTEGRATIONS.index(integration),
    )
    for _ in range(units):
        x = expected_propagation(x, guidance, *rule)
    return x


@pytest.mark.parametrize("phase", [TRAIN, TEST])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_forward(shape, phase):
    x, guidance = random_inputs(shape)
    out = Run('type: "SpatialPropagation"', x, guidance, phase=phase).out
    wanted = expected(x, guidance, "THREE_WAY", "SUM_ABS", "MAX", 1)
    np.testing.assert_allclose(out, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("units", [1, 2, 3])
@pytest.mark.parametrize("phase", [TRAIN, TEST])
@pytest.mark.parametrize("connection", CONNECTIONS)
def test_units(connection, phase, units):
    x, guidance = random_inputs((2, 3, 7, 19), CONNECTIONS.index(connection))
    out = Run(definition(connection, "CLIP", "MAX", units), x, guidance, phase=phase).out
    wanted = expected(x, guidance, connection, "CLIP", "MAX", units)
    np.testing.assert_allclose(out, wanted, rtol=0, atol=1e-5)


def gradient_inputs(connection, seed):
    x, guidance = random_inputs((2, 2, 3, 5), connection, np.float64, seed)
    # Away from the kinks: of the absolute value at 0, and of CLIP where the sum is 1.
    return x, np.copysign(np.abs(guidance) + 0.02, guidance)


@pytest.mark.parametrize(
    "rule", list(product(CONNECTIONS, NORMALIZATIONS, INTEGRATIONS)), ids="-".join
)
def test_gradient(rule):
    check_gradients(definition(*rule), gradient_inputs(CONNECTIONS.index(rule[0]), 3), step=1e-6)


@pytest.mark.parametrize("units", [2, 3])
def test_gradient_of_units(units):
    inputs = gradient_inputs(THREE_WAY, 4)
    check_gradients(definition(integration="MEAN", units=units), inputs, step=1e-6)
    check_gradients(definition(units=units), inputs, step=1e-6)


@pytest.mark.parametrize("units", [1, 2, 3])
def test_units_are_layers_in_a_row(units):
    x, guidance = random_inputs((1, 5, 20, 33))
    diff = normal(*x.shape, seed=9)
    run = Run(definition(units=units), x, guidance)
    runs = []
    for _ in range(units):
        runs.append(Run(definition(), runs[-1].out if runs else x, guidance))
    np.testing.assert_array_equal(run.out, runs[-1].out)
    x_diff, guidance_diff = run.backward(diff)
    wanted = np.zeros_like(guidance)
    for single in reversed(runs):
        diff, part = single.backward(diff)
        wanted += part
    np.testing.assert_array_equal(x_diff, diff)
    np.testing.assert_allclose(guidance_diff, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("units", [1, 2, 3])
def test_a_test_net_runs_backward_too(units):
    x, guidance = random_inputs((1, 2, 70, 9), ONE_WAY)
    diff = normal(*x.shape, seed=9)
    text = definition("ONE_WAY", "CLIP", "MAX", units)
    trained = Run(text, x, guidance).backward(diff)
    tested = Run(text, x, guidance, phase=TEST)
    out = tested.out.copy()
    for a, b in zip(tested.backward(diff), trained, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(tested.out, out)


@pytest.mark.parametrize(("units", "maps"), [(1, 0), (2, 1), (5, 1)])
def test_a_test_net_keeps_at_most_one_map(units, maps):
    x, guidance = random_inputs((1, 2, 70, 70))
    run = Run(definition(units=units), x, guidance, phase=TEST)
    assert sum(a.nbytes for a in run.layer._workspaces.values()) == maps * x.nbytes


@pytest.mark.parametrize("propagate", [(True, False), (False, True), (False, False)])
def test_only_the_diffs_asked_for(propagate):
    x, guidance = random_inputs((1, 2, 5, 7))
    diff = normal(*x.shape, seed=9)
    every = Run(definition(units=2), x, guidance).backward(diff)
    diffs = Run(definition(units=2), x, guidance).backward(diff, propagate=list(propagate))
    for wanted, found, all_found in zip(propagate, diffs, every, strict=True):
        np.testing.assert_array_equal(found, all_found if wanted else 0)


def test_takes_another_shape():
    run = Run(definition(units=2), *random_inputs((1, 2, 5, 7)))
    inputs = random_inputs((2, 3, 8, 4))
    for blob, value in zip(run.bottom, inputs, strict=True):
        blob.reshape(*value.shape)
        blob.data[...] = value
    run.forward()
    np.testing.assert_array_equal(run.out, Run(definition(units=2), *inputs).out)


def test_a_guidance_of_another_size():
    with pytest.raises(ShapeError) as error:
        Run(definition(), normal(1, 2, 8, 8), normal(1, 24, 8, 7))
    assert str(error.value) == (
        "layer 'tested' (SpatialPropagation)\n"
        "  bottom 1 (guidance) is (1, 24, 8, 7); for a bottom 0 (x) of (1, 2, 8, 8) it must be"
        " (1, 24, 8, 8): 4 directions x 3 gate(s) x 2 channels\n"
        "  help: crop the larger one, or look at the pooling above it (Caffe rounds up)"
    )


def test_a_guidance_for_the_other_connection():
    with pytest.raises(ShapeError, match="must be") as error:
        Run(definition("ONE_WAY"), normal(1, 2, 8, 8), normal(1, 24, 8, 8))
    assert error.value.help == "that many channels would fit 'connection: THREE_WAY'"


def test_a_guidance_of_any_other_number_of_channels():
    with pytest.raises(ShapeError, match="must be") as error:
        Run(definition(), normal(1, 2, 8, 8), normal(1, 23, 8, 8))
    assert "'num_output: 24'" in error.value.help


@pytest.mark.parametrize(("x", "guidance", "name"), [((8, 8), (1, 12, 8, 8), "x")])
def test_a_bottom_without_four_axes(x, guidance, name):
    with pytest.raises(ShapeError, match=rf"\({name}\) is .*; it must have 4 axes"):
        Run(definition(), normal(*x), normal(*guidance))


def test_no_units():
    with pytest.raises(PrototxtError, match="units is 0; it must be at least 1"):
        Run(definition(units=0), *random_inputs((1, 2, 5, 7)))


def test_in_place():
    with pytest.raises(PrototxtError, match="cannot compute in place"):
        Run(definition(), *random_inputs((1, 2, 5, 7)), in_place=True)
