import math

import numpy as np
import pytest

from caffe_spn.gradient_check import check_gradients
from tests import golden_cases
from tests.layers.running import Run, normal
from tests.layers.test_lstm import SHAPES, markers

SIZE = 3  # num_output


def definition(rest=""):
    return f'type: "RNN" recurrent_param {{ num_output: {SIZE} {rest} }}'


def expected(x, cont, params, x_static=None, h=None):
    """One unit at a time; (the outputs of all steps, the last h)."""
    w_x, bias, (w_h, w_out, bias_out) = params[0], params[1], params[-3:]
    steps, streams = cont.shape
    h = np.zeros((streams, SIZE)) if h is None else np.array(h, float)
    out = np.zeros((steps, streams, SIZE))
    for t in range(steps):
        for n in range(streams):
            before = cont[t, n] * h[n]
            for k in range(SIZE):
                value = bias[k] + np.dot(w_x[k], x[t, n].ravel()) + np.dot(w_h[k], before)
                if x_static is not None:
                    value += np.dot(params[2][k], x_static[n].ravel())
                h[n, k] = math.tanh(value)
            for k in range(SIZE):
                out[t, n, k] = math.tanh(bias_out[k] + np.dot(w_out[k], h[n]))
    return out, h


def make_params(inputs, static=None):
    shapes = [(SIZE, inputs), (SIZE,), (SIZE, SIZE), (SIZE, SIZE), (SIZE,)]
    if static is not None:
        shapes.insert(2, (SIZE, static))
    return [normal(*shape, seed=10 + i) for i, shape in enumerate(shapes)]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_forward(shape):
    x, cont = normal(*shape), markers(*shape[:2])
    params = make_params(int(np.prod(shape[2:])))
    run = Run(definition(), x, cont, params=params)
    assert [blob.shape for blob in run.layer.blobs] == [p.shape for p in params]
    np.testing.assert_allclose(run.out, expected(x, cont, params)[0], 1e-5, 1e-6)


@pytest.mark.parametrize("static", [(2, 4), (2, 2, 1, 3)])
def test_forward_with_static_input(static):
    x, cont, x_static = normal(4, 2, 5), markers(4, 2), normal(*static, seed=1)
    params = make_params(5, int(np.prod(static[1:])))
    run = Run(definition(), x, cont, x_static, params=params)
    np.testing.assert_allclose(run.out, expected(x, cont, params, x_static)[0], 1e-5, 1e-6)


@pytest.mark.parametrize("static", [False, True])
def test_forward_with_an_exposed_state(static):
    x, cont, h = normal(4, 2, 5), markers(4, 2, first=[1, 0]), normal(1, 2, SIZE, seed=2)
    x_static = normal(2, 4, seed=1) if static else None
    params = make_params(5, 4 if static else None)
    bottoms = (x, cont, *([x_static] if static else []), h)
    run = Run(definition("expose_hidden: true"), *bottoms, tops=2, params=params)
    out, last = expected(x, cont, params, x_static, h[0])
    np.testing.assert_allclose(run.top[0].data, out, 1e-5, 1e-6)
    np.testing.assert_allclose(run.top[1].data, [last], 1e-5, 1e-6)


def test_state_is_carried_over():
    x, cont = normal(9, 2, 5), markers(9, 2, seed=4)
    params = make_params(5)
    wanted = expected(x, cont, params)[0]
    run = Run(definition(), x[:3], cont[:3], params=params)
    run.layer.reset()  # Run has run it once already
    for start in (0, 3, 6):
        run.bottom[0].data[...], run.bottom[1].data[...] = (a[start : start + 3] for a in (x, cont))
        run.forward()
        np.testing.assert_allclose(run.out, wanted[start : start + 3], 1e-5, 1e-6)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_gradient(shape):
    check_gradients(definition(), [shape, markers(*shape[:2], first=0)])


def test_gradient_with_static_input():
    check_gradients(definition(), [(3, 2, 4), markers(3, 2, first=0), (2, 2, 2)])


@pytest.mark.parametrize("static", [False, True])
def test_gradient_with_an_exposed_state(static):
    inputs = [(3, 2, 4), markers(3, 2, first=[1, 0]), (1, 2, SIZE)]
    if static:
        inputs.insert(2, (2, 5))
    check_gradients(definition("expose_hidden: true"), inputs, tops=2)


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("RNN",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
