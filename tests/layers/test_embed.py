import numpy as np
import pytest

from caffe_spn.blob import Blob
from caffe_spn.errors import DataError, PrototxtError, ShapeError
from caffe_spn.gradient_check import check_gradients
from tests import golden_cases
from tests.layers.running import SHAPES, Run, normal


def embed(rest="input_dim: 5 num_output: 3"):
    return f'type: "Embed" embed_param {{ {rest} }}'


def indices(shape, rows=5):
    return np.random.default_rng(0).integers(0, rows, shape)


def expected(index, weights, bias):
    y = np.empty((*index.shape, weights.shape[1]))
    for place in np.ndindex(*y.shape):
        y[place] = weights[int(index[place[:-1]]), place[-1]] + bias[place[-1]]
    return y


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [*SHAPES.values(), (4,), ()], ids=[*SHAPES, "list", "number"])
def test_forward(shape, bias):
    index, weights = indices(shape), normal(5, 3)
    offset = normal(3, seed=1) if bias else np.zeros(3)
    text = embed(f"input_dim: 5 num_output: 3 bias_term: {str(bias).lower()}")
    run = Run(text, index, params=[weights, offset])
    assert len(run.layer.blobs) == 1 + bias
    np.testing.assert_allclose(run.out, expected(index, weights, offset), 1e-6)


@pytest.mark.parametrize("index", [[0, 1, 2, 3, 4], [[3, 3], [0, 3]], 2])
@pytest.mark.parametrize("bias", ["true", "false"])
def test_gradient(index, bias):
    text = embed(f"input_dim: 5 num_output: 3 bias_term: {bias}")
    check_gradients(text, [np.array(index)])


def test_fillers():
    fillers = "weight_filler { value: 2 } bias_filler { value: 3 }"
    run = Run(embed(f"input_dim: 2 num_output: 1 {fillers}"), [0, 1])
    np.testing.assert_array_equal(run.out, [[5], [5]])
    assert not any(blob.data.any() for blob in Run(embed(), [0]).layer.blobs)


def test_parameter_gradients_accumulate():
    run = Run(embed(), [4, 0, 4])
    run.backward(np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]]))
    run.backward(np.ones((3, 3)))
    wanted = np.zeros((5, 3))
    wanted[0], wanted[4] = [5, 6, 7], [10, 12, 14]
    np.testing.assert_array_equal(run.layer.blobs[0].diff, wanted)
    np.testing.assert_array_equal(run.layer.blobs[1].diff, [15, 18, 21])


@pytest.mark.parametrize("wanted", [0, 1])
def test_only_wanted_gradients_are_written(wanted):
    run = Run(embed(), [1, 2])
    run.layer.param_propagate_down = [i == wanted for i in (0, 1)]
    run.backward(1.0)
    assert [blob.diff.any() for blob in run.layer.blobs] == [i == wanted for i in (0, 1)]


def test_many_indices_add_up_as_one_by_one():
    index = indices(1000)
    run = Run(embed(), index)
    top_diff = normal(1000, 3)
    run.backward(top_diff)
    wanted = np.zeros((5, 3))
    for i, row in zip(index, top_diff, strict=True):
        wanted[i] += row
    np.testing.assert_allclose(run.layer.blobs[0].diff, wanted, 1e-4, 1e-4)


def test_fractions_are_cut_off():
    run = Run(embed(), [1.9, -0.5], params=[normal(5, 3)])
    np.testing.assert_array_equal(run.out, run.layer.blobs[0].data[[1, 0]])


def test_no_index_gives_no_vectors():
    run = Run(embed(), np.zeros((0, 2)))
    assert run.out.shape == (0, 2, 3)
    run.backward(0)
    assert not any(blob.diff.any() for blob in run.layer.blobs)


@pytest.mark.parametrize("index", [5, -1, np.nan])
def test_indices_must_have_a_vector(index):
    message = rf"index {index:g} at \(1, 0\) of bottom 0 \('b0'\), .* less than 5, .* input_dim"
    with pytest.raises(DataError, match=message):
        Run(embed(), [[0, 4], [index, 9]])


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("input_dim: 5", "has num_output 0; it must be positive"),
        ("num_output: 5", "has input_dim 0; it must be positive"),
    ],
)
def test_sizes_are_needed(rest, message):
    with pytest.raises(PrototxtError, match=message):
        Run(embed(rest), [0])


def test_given_weights_must_fit():
    layer = Run(embed(), [0]).layer
    layer.blobs[0] = Blob((3, 5))
    with pytest.raises(ShapeError, match=r"was given blobs of shapes \[\(3, 5\), \(3,\)\]"):
        layer.setup([Blob((1,))], [Blob()])


def test_indices_have_no_gradient():
    run = Run(embed(), [0, 1])
    with pytest.raises(PrototxtError, match=r"gradient for bottom 0 \('b0'\), the indices"):
        run.backward(1.0, propagate=[True])


def test_not_in_place():
    with pytest.raises(PrototxtError, match="cannot compute in place"):
        Run(embed(), [0, 1], in_place=True)


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("Embed",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
