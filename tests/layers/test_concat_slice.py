import numpy as np
import pytest

from caffe_spn.errors import PrototxtError, ShapeError
from caffe_spn.gradient_check import check_gradients
from tests import golden_cases
from tests.layers.running import Run, normal


def concat(rest=""):
    return f'type: "Concat" concat_param {{ {rest} }}'


def cut(rest=""):
    return f'type: "Slice" slice_param {{ {rest} }}'


@pytest.mark.parametrize(
    "axis, shapes",
    [
        ("axis: 0", [(1, 3, 2), (2, 3, 2)]),
        ("", [(2, 1, 3, 4), (2, 5, 3, 4), (2, 2, 3, 4)]),
        ("concat_dim: 2", [(1, 2, 3), (1, 2, 1)]),
        ("axis: -1", [(2, 3), (2, 4)]),
    ],
)
def test_concat(axis, shapes):
    inputs = [normal(*s, seed=i) for i, s in enumerate(shapes)]
    number = {"axis: 0": 0, "": 1, "concat_dim: 2": 2, "axis: -1": -1}[axis]
    wanted = np.concatenate(inputs, number)
    run = Run(concat(axis), *inputs)
    np.testing.assert_array_equal(run.out, wanted)
    # What forward joins, backward takes apart.
    for diff, x in zip(run.backward(wanted), inputs, strict=True):
        np.testing.assert_array_equal(diff, x)


@pytest.mark.parametrize(
    "definition, shape, pieces",
    [
        ("", (2, 6, 3), [np.s_[:, :2], np.s_[:, 2:4], np.s_[:, 4:]]),
        ("axis: 0", (4, 3), [np.s_[:2], np.s_[2:]]),
        ("axis: -1 slice_point: 1", (2, 1, 4), [np.s_[..., :1], np.s_[..., 1:]]),
        ("slice_dim: 2 slice_point: 2 slice_point: 3", (1, 2, 5), [
            np.s_[:, :, :2], np.s_[:, :, 2:3], np.s_[:, :, 3:]
        ]),
        ("slice_point: 3", (2, 3), [np.s_[:, :3], np.s_[:, 3:]]),
    ],
)  # fmt: skip
def test_slice(definition, shape, pieces):
    x = normal(*shape)
    run = Run(cut(definition), x, tops=len(pieces))
    for blob, piece in zip(run.top, pieces, strict=True):
        np.testing.assert_array_equal(blob.data, x[piece])
    diff = run.backward(*[x[piece] for piece in pieces])[0]
    np.testing.assert_array_equal(diff, x)


def test_gradients():
    check_gradients(concat("axis: 2"), [(2, 3, 1), (2, 3, 4)])
    check_gradients(cut("slice_point: 1 slice_point: 3"), [(2, 5, 3)], tops=3)


@pytest.mark.parametrize("definition", [concat(), cut()])
def test_a_single_blob_is_shared(definition):
    run = Run(definition, normal(2, 3))
    assert np.shares_memory(run.top[0].data, run.bottom[0].data)
    assert np.shares_memory(run.top[0].diff, run.bottom[0].diff)


def test_concat_writes_only_wanted_gradients():
    run = Run(concat(), normal(1, 2), normal(1, 1))
    first, second = run.backward([[1, 2, 3]], propagate=[False, True])
    np.testing.assert_array_equal(first, [[0, 0]])
    np.testing.assert_array_equal(second, [[3]])


@pytest.mark.parametrize(
    "definition, shapes, tops, error, message",
    [
        (concat("axis: 1 concat_dim: 1"), [(2, 3)], 1, PrototxtError, "both axis and concat_dim"),
        (cut("axis: 1 slice_dim: 1"), [(2, 3)], 1, PrototxtError, "both axis and slice_dim"),
        (concat("concat_dim: 2"), [(2, 3)], 1, ShapeError, "concat_dim 2 is out of range"),
        (concat(), [(2, 3), (2, 3, 1)], 1, ShapeError, r"bottom 1 is \(2, 3, 1\)"),
        (concat(), [(2, 3), (1, 3)], 1, ShapeError, "except along axis 1"),
        (cut("axis: -3"), [(2, 3)], 1, ShapeError, "axis -3 is out of range"),
        (cut(), [(2, 3)], 2, ShapeError, "3 elements, which 2 tops cannot share evenly"),
        (cut("slice_point: 1"), [(2, 3)], 3, PrototxtError, r"has 1 slice_point.* it needs 2"),
        (cut("slice_point: 2 slice_point: 2"), [(2, 9)], 3, PrototxtError, r"\[2, 2\]; .* ascend"),
        (cut("slice_point: 0"), [(2, 9)], 2, PrototxtError, "must be positive"),
        (cut("slice_point: 4"), [(2, 3)], 2, ShapeError, r"slice points \[4\] .* has 3 elements"),
    ],
)
def test_errors(definition, shapes, tops, error, message):
    with pytest.raises(error, match=message):
        Run(definition, *[normal(*s) for s in shapes], tops=tops)


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("Concat", "Slice")), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
