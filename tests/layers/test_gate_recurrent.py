"""GateRecurrent2dnoind."""

import numpy as np
import pytest

from caffe_spn.errors import PrototxtError, ShapeError
from caffe_spn.gradient_check import check_gradients
from tests import golden_cases
from tests.cpu.recurrence_reference import DIRECTIONS, SHAPES, expected_scan
from tests.layers.running import TEST, Run, normal

by_direction = pytest.mark.parametrize("direction", range(4), ids=["lr", "rl", "tb", "bt"])


def definition(direction, rest=""):
    horizontal, reverse = DIRECTIONS[direction]
    return (
        'type: "GateRecurrent2dnoind" gaterecurrent2dnoind_param {'
        f" horizontal: {str(horizontal).lower()} reverse: {str(reverse).lower()} {rest} }}"
    )


def inputs(shape):
    return [normal(*shape, seed=i) * (1 if i == 0 else 0.3) for i in range(4)]


@by_direction
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_forward(shape, direction):
    bottoms = inputs(shape)
    out = Run(definition(direction), *bottoms).out
    wanted = expected_scan(bottoms[0].astype(np.float64), bottoms[1:], direction)
    np.testing.assert_allclose(out, wanted, rtol=0, atol=1e-5)


def test_scans_columns_from_the_left_by_default():
    bottoms = inputs((1, 2, 5, 7))
    out = Run('type: "GateRecurrent2dnoind"', *bottoms).out
    np.testing.assert_array_equal(out, Run(definition(0), *bottoms).out)


@by_direction
@pytest.mark.parametrize("shape", [(2, 2, 4, 5), (1, 1, 1, 4), (1, 1, 4, 1)])
def test_gradient(shape, direction):
    check_gradients(definition(direction), inputs(shape))


@by_direction
def test_a_test_net_runs_backward_too(direction):
    # It keeps nothing in forward, so that backward has to compute h again.
    bottoms = inputs((1, 3, 70, 9))
    diff = normal(1, 3, 70, 9, seed=9)
    trained = Run(definition(direction), *bottoms).backward(diff)
    tested = Run(definition(direction), *bottoms, phase=TEST)
    out = tested.out.copy()
    for a, b in zip(tested.backward(diff), trained, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(tested.out, out)


def test_a_test_net_keeps_nothing():
    run = Run(definition(0), *inputs((1, 2, 70, 70)), phase=TEST)
    assert not run.layer._workspaces


def test_a_following_layer_may_overwrite_h():
    bottoms = inputs((1, 2, 6, 70))
    diff = normal(1, 2, 6, 70, seed=9)
    run, changed = Run(definition(0), *bottoms), Run(definition(0), *bottoms)
    changed.top[0].data[...] = 0
    for a, b in zip(run.backward(diff), changed.backward(diff), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("wanted", range(4))
def test_only_the_diffs_asked_for(wanted):
    bottoms = inputs((1, 2, 5, 7))
    diff = normal(1, 2, 5, 7, seed=9)
    every = Run(definition(0), *bottoms).backward(diff)
    run = Run(definition(0), *bottoms)
    propagate = [i == wanted for i in range(4)]
    diffs = run.backward(diff, propagate=propagate)
    for i in range(4):
        np.testing.assert_array_equal(diffs[i], every[i] if i == wanted else 0)


def test_takes_another_shape():
    run = Run(definition(2), *inputs((1, 2, 5, 7)))
    bottoms = inputs((2, 3, 8, 4))
    for blob, value in zip(run.bottom, bottoms, strict=True):
        blob.reshape(*value.shape)
        blob.data[...] = value
    run.forward()
    np.testing.assert_array_equal(run.out, Run(definition(2), *bottoms).out)


def test_a_gate_of_another_size():
    x, gate, smaller = normal(1, 32, 64, 64), normal(1, 32, 64, 64), normal(1, 32, 64, 63)
    with pytest.raises(ShapeError) as error:
        Run(definition(0), x, gate, smaller, gate)
    assert str(error.value) == (
        "layer 'tested' (GateRecurrent2dnoind)\n"
        "  bottom 2 (g2) is (1, 32, 64, 63); it must have the shape of bottom 0 (x),"
        " (1, 32, 64, 64)\n"
        "  help: crop 'b2', or look at the pooling above it (Caffe rounds up)"
    )


def test_a_gate_with_other_channels():
    x, gate = normal(1, 4, 6, 6), normal(1, 12, 6, 6)
    with pytest.raises(ShapeError, match=r"bottom 1 \(g1\) is \(1, 12, 6, 6\)") as error:
        Run(definition(0), x, gate, gate, gate)
    assert "Slice" in error.value.help


def test_a_map_without_four_axes():
    with pytest.raises(ShapeError, match=r"bottom 0 \(x\) is \(3, 5\); it must have 4 axes"):
        Run(definition(0), *inputs((3, 5)))


def test_an_activation():
    with pytest.raises(PrototxtError, match="active is TANH; the recurrence is linear") as error:
        Run(definition(0, "active: TANH"), *inputs((1, 1, 2, 2)))
    assert "leave 'active' out" in error.value.help


def test_in_place():
    with pytest.raises(PrototxtError, match="cannot compute in place"):
        Run(definition(0), *inputs((1, 1, 2, 2)), in_place=True)


@pytest.mark.parametrize(
    "case",
    golden_cases.cases("layer", types=("GateRecurrent2dnoind",)),
    ids=golden_cases.case_id,
)
def test_recorded(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
