import numpy as np
import pytest

from caffe_spn.errors import PrototxtError, ShapeError
from tests import golden_cases
from tests.layers.running import Run, normal


def reshape(dims, rest=""):
    dim = " ".join(f"dim: {d}" for d in dims)
    return f'type: "Reshape" reshape_param {{ shape {{ {dim} }} {rest} }}'


def flatten(rest=""):
    return f'type: "Flatten" flatten_param {{ {rest} }}'


@pytest.mark.parametrize(
    "definition, before, after",
    [
        (reshape([4, 6]), (2, 3, 4), (4, 6)),
        (reshape([0, -1]), (2, 3, 4), (2, 12)),
        (reshape([-1, 0]), (2, 3, 4), (8, 3)),
        (reshape([0, 0, 2, -1]), (2, 3, 4), (2, 3, 2, 2)),
        (reshape([]), (1, 1), ()),
        (reshape([2, 2], "axis: -3 num_axes: 1"), (3, 4, 5), (3, 2, 2, 5)),
        (reshape([1], "axis: -1"), (3, 4), (3, 4, 1)),
        (reshape([1, 1], "axis: 1 num_axes: 0"), (3, 4), (3, 1, 1, 4)),
        (reshape([], "axis: 1 num_axes: 2"), (3, 1, 1, 4), (3, 4)),
        (flatten(), (2, 3, 4, 5), (2, 60)),
        (flatten("axis: 1 end_axis: -2"), (2, 3, 4, 5), (2, 12, 5)),
        (flatten("axis: 0"), (2, 3), (6,)),
        (flatten("axis: 2"), (2, 3, 4), (2, 3, 4)),
        (flatten("axis: 1 end_axis: 0"), (2, 3), (2, 1, 3)),
    ],
)
def test_shapes_and_sharing(definition, before, after):
    x = normal(*before)
    run = Run(definition, x)
    assert run.out.shape == after
    np.testing.assert_array_equal(run.out.ravel(), x.ravel())
    assert np.shares_memory(run.out, run.bottom[0].data)
    np.testing.assert_array_equal(run.backward(run.out)[0], x)


def test_sharing_follows_a_new_shape():
    run = Run(reshape([0, -1]), normal(2, 3, 4))
    run.bottom[0].reshape(5, 6, 7)
    run.bottom[0].data[...] = 3
    run.forward()
    np.testing.assert_array_equal(run.out, np.full((5, 42), 3))


@pytest.mark.parametrize(
    "definition, shape, error, message",
    [
        (reshape([-1, -1]), (2, 3), PrototxtError, "one dimension may be -1"),
        (reshape([-2]), (2, 3), PrototxtError, r"\[-2\]; one dimension may be -1, the others"),
        (reshape([6], "num_axes: -2"), (2, 3), PrototxtError, "num_axes -2; it must be -1"),
        (reshape([5]), (2, 3), ShapeError, r"\(2, 3\), 6 elements; .* \(5,\) needs exactly 5"),
        (reshape([4, -1]), (2, 3), ShapeError, r"needs a multiple of 4"),
        (reshape([0, 0, 0]), (2, 3), ShapeError, r"has a 0 in shape \[0, 0, 0\] for axis 2"),
        (reshape([1], "axis: 3"), (2, 3), ShapeError, "axis 3 and num_axes -1 do not lie within"),
        (reshape([1], "axis: 1 num_axes: 2"), (2, 3), ShapeError, "num_axes 2 do not lie within"),
        (flatten("axis: 2"), (2, 3), ShapeError, "axis 2 is out of range"),
        (flatten("end_axis: 4"), (2, 3), ShapeError, "end_axis 4 is out of range"),
        (flatten("axis: 2 end_axis: 0"), (2, 3, 4), ShapeError, "axis 2 .* is behind end_axis 0"),
    ],
)
def test_errors(definition, shape, error, message):
    with pytest.raises(error, match=message):
        Run(definition, normal(*shape))


@pytest.mark.parametrize("definition", [reshape([0]), flatten("axis: 0")])
def test_in_place_is_refused(definition):
    with pytest.raises(PrototxtError, match="cannot compute in place"):
        Run(definition, normal(3), in_place=True)


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("Reshape", "Flatten")), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
