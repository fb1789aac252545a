import numpy as np
import pytest

from caffe_spn.blob import Blob
from caffe_spn.errors import PrototxtError, ShapeError
from caffe_spn.gradient_check import check_gradients
from tests import golden_cases
from tests.layers.running import SHAPES, Run, normal


def definition(rest):
    return f'type: "InnerProduct" inner_product_param {{ {rest} }}'


def expected(x, w, bias):
    """x (rows, inputs), w (outputs, inputs), one multiplication at a time."""
    y = np.zeros((len(x), len(w)))
    for r, k in np.ndindex(*y.shape):
        y[r, k] = bias[k] + sum(float(a) * float(b) for a, b in zip(x[r], w[k], strict=True))
    return y


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_forward(shape, transpose):
    inputs = int(np.prod(shape[1:]))
    x, w, bias = normal(*shape), normal(4, inputs, seed=1), normal(4, seed=2)
    text = f"num_output: 4 transpose: {str(transpose).lower()}"
    out = Run(definition(text), x, params=[w.T if transpose else w, bias]).out
    wanted = expected(x.reshape(-1, inputs), w, bias)
    np.testing.assert_allclose(out, wanted, 1e-5, 1e-5)


@pytest.mark.parametrize(("axis", "rows"), [(0, ()), (2, (2, 3)), (-1, (2, 3, 4))])
def test_axis(axis, rows):
    x = normal(2, 3, 4, 5)
    run = Run(definition(f"num_output: 2 axis: {axis} bias_term: false"), x)
    inputs = 120 // int(np.prod(rows))
    assert run.layer.blobs[0].shape == (2, inputs)
    assert run.out.shape == (*rows, 2)
    w = run.layer.blobs[0].data[...] = normal(2, inputs, seed=1)
    run.forward()
    wanted = expected(x.reshape(-1, inputs), w, [0, 0])
    np.testing.assert_allclose(run.out.reshape(-1, 2), wanted, 1e-5, 1e-5)


@pytest.mark.parametrize("rest", ["", "transpose: true", "axis: 2", "axis: 0", "bias_term: false"])
def test_gradient(rest):
    check_gradients(definition(f"num_output: 3 {rest}"), [(2, 3, 2, 2)])


def test_parameter_gradients_accumulate():
    run = Run(definition("num_output: 3"), normal(2, 4))
    run.backward(np.ones((2, 3)))
    once = [blob.diff.copy() for blob in run.layer.blobs]
    run.backward(np.ones((2, 3)))
    for blob, before in zip(run.layer.blobs, once, strict=True):
        np.testing.assert_allclose(blob.diff, 2 * before, 1e-6)


def test_nan_propagates():
    x = normal(3, 4)
    x[1, 2] = np.nan
    out = Run(definition('num_output: 2 weight_filler { type: "xavier" }'), x).out
    assert np.isnan(out).tolist() == [[False, False], [True, True], [False, False]]


def test_num_output_is_needed():
    with pytest.raises(PrototxtError, match="has num_output 0"):
        Run(definition(""), normal(2, 3))


def test_axis_must_exist():
    with pytest.raises(ShapeError, match="axis 2 is out of range"):
        Run(definition("num_output: 2 axis: 2"), normal(2, 3))


def test_inputs_must_not_change():
    run = Run(definition("num_output: 2"), normal(2, 3, 4))
    run.bottom[0].reshape(2, 3, 5)
    with pytest.raises(ShapeError, match=r"has 15 inputs from axis 1 on; .* made for 12"):
        run.forward()


def test_given_weights_must_fit():
    layer = Run(definition("num_output: 2"), normal(1, 4)).layer
    layer.blobs[0] = Blob((2, 3))
    with pytest.raises(ShapeError, match=r"was given blobs of shapes \[\(2, 3\), \(2,\)\]"):
        layer.setup([Blob((1, 4))], [Blob()])


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("InnerProduct",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
