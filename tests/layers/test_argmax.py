import numpy as np
import pytest

from caffe_spn.errors import PrototxtError, ShapeError
from tests import golden_cases
from tests.layers.running import SHAPES, Run, normal


def argmax(rest=""):
    return f'type: "ArgMax" argmax_param {{ {rest} }}'


def ranking(values):
    """Indices by falling value; of equal ones the higher index first."""
    return sorted(range(len(values)), key=lambda i: (-values[i], -i))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("with_values", [False, True])
def test_each_example(shape, with_values):
    x = np.round(normal(*shape), 1)
    rest = "out_max_val: true" if with_values else ""
    out = Run(argmax(rest), x).out
    assert out.shape == (shape[0], 1 + with_values, 1) + (1,) * (len(shape) - 3)
    for n, example in enumerate(x.reshape(shape[0], -1)):
        best = ranking(example)[0]
        assert out[n].ravel().tolist() == ([best, example[best]] if with_values else [best])


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("top_k", [1, 2, 3])
@pytest.mark.parametrize("values", [False, True])
def test_along_an_axis(axis, top_k, values):
    x = np.round(normal(3, 4, 5))
    out = Run(argmax(f"axis: {axis} top_k: {top_k} out_max_val: {str(values).lower()}"), x).out
    lines, found = np.moveaxis(x, axis, -1), np.moveaxis(out, axis, -1)
    for index in np.ndindex(*lines.shape[:-1]):
        best = ranking(lines[index])[:top_k]
        wanted = lines[index][best].tolist() if values else best
        assert found[index].tolist() == wanted


def test_several_of_each_example():
    out = Run(argmax("top_k: 2 out_max_val: true"), [[1, 5, 5], [7, 0, 3]]).out
    np.testing.assert_array_equal(out, [[[2, 1], [5, 5]], [[0, 2], [7, 3]]])


@pytest.mark.parametrize(
    "rest, error, message",
    [
        ("top_k: 0", PrototxtError, "has top_k 0"),
        ("top_k: 4", ShapeError, "top_k 4, .* has 3 elements"),
        ("axis: 0 top_k: 3", ShapeError, "top_k 3, .* has 2 elements"),
        ("axis: 2", ShapeError, "axis 2 is out of range"),
    ],
)
def test_errors(rest, error, message):
    with pytest.raises(error, match=message):
        Run(argmax(rest), normal(2, 3))


def test_there_is_no_gradient():
    run = Run(argmax(), normal(2, 3))
    with pytest.raises(PrototxtError, match="has no gradient"):
        run.backward(0, propagate=[True])


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("ArgMax",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
