import math

import numpy as np
import pytest

from caffe_spn.gradient_check import check_gradients
from tests import golden_cases
from tests.layers.running import Run, normal

SIZE = 3  # num_output
# (T, N, inputs...)
SHAPES = {
    "usual": (4, 2, 5),
    "one step": (1, 3, 2),
    "one stream": (5, 1, 1),
    "images": (2, 2, 2, 1, 3),
}


def definition(rest=""):
    return f'type: "LSTM" recurrent_param {{ num_output: {SIZE} {rest} }}'


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def expected(x, cont, params, x_static=None, h=None, c=None):
    """One cell at a time; (the outputs of all steps, the last h, the last c)."""
    w_x, bias, w_h = params[0], params[1], params[-1]
    steps, streams = cont.shape
    size = w_h.shape[1]
    h = np.zeros((streams, size)) if h is None else np.array(h, float)
    c = np.zeros((streams, size)) if c is None else np.array(c, float)
    out = np.zeros((steps, streams, size))
    for t in range(steps):
        for n in range(streams):
            before, marker = h[n].copy(), cont[t, n]
            for k in range(size):
                gate = []
                for row in range(k, 4 * size, size):
                    value = bias[row] + np.dot(w_x[row], x[t, n].ravel())
                    value += marker * np.dot(w_h[row], before)
                    if x_static is not None:
                        value += np.dot(params[2][row], x_static[n].ravel())
                    gate.append(float(value))
                i, f, o = (sigmoid(v) for v in gate[:3])
                c[n, k] = f * marker * c[n, k] + i * math.tanh(gate[3])
                h[n, k] = out[t, n, k] = o * math.tanh(c[n, k])
    return out, h, c


def make_params(inputs, static=None):
    shapes = [(4 * SIZE, inputs), (4 * SIZE,), (4 * SIZE, SIZE)]
    if static is not None:
        shapes.insert(2, (4 * SIZE, static))
    return [normal(*shape, seed=10 + i) for i, shape in enumerate(shapes)]


def markers(steps, streams, seed=0, first=None):
    cont = np.random.default_rng(seed).integers(0, 2, (steps, streams)).astype(np.float32)
    if first is not None:
        cont[0] = first
    return cont


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
def test_forward_with_exposed_states(static):
    x, cont = normal(4, 2, 5), markers(4, 2, first=[1, 0])
    h, c = normal(1, 2, SIZE, seed=2), normal(1, 2, SIZE, seed=3)
    x_static = normal(2, 4, seed=1) if static else None
    params = make_params(5, 4 if static else None)
    bottoms = (x, cont, *([x_static] if static else []), h, c)
    run = Run(definition("expose_hidden: true"), *bottoms, tops=3, params=params)
    wanted = expected(x, cont, params, x_static, h[0], c[0])
    for blob, values in zip(run.top, wanted, strict=True):
        np.testing.assert_allclose(blob.data.reshape(values.shape), values, 1e-5, 1e-6)
    assert [blob.shape for blob in run.top[1:]] == [(1, 2, SIZE)] * 2


def test_state_is_carried_over():
    """Three batches equal one long one, whatever the layers above do with the top."""
    x, cont = normal(9, 2, 5), markers(9, 2, seed=4)
    params = make_params(5)
    wanted = expected(x, cont, params)[0]
    run = Run(definition(), x[:3], cont[:3], params=params)
    run.layer.reset()  # Run has run it once already
    for start in (0, 3, 6):
        run.bottom[0].data[...], run.bottom[1].data[...] = (a[start : start + 3] for a in (x, cont))
        run.forward()
        np.testing.assert_allclose(run.out, wanted[start : start + 3], 1e-5, 1e-6)
        run.out.fill(np.nan)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_gradient(shape):
    check_gradients(definition(), [shape, markers(*shape[:2], first=0)])


def test_gradient_with_static_input():
    check_gradients(definition(), [(3, 2, 4), markers(3, 2, first=0), (2, 2, 2)])


@pytest.mark.parametrize("static", [False, True])
def test_gradient_with_exposed_states(static):
    inputs = [(3, 2, 4), markers(3, 2, first=[1, 0]), (1, 2, SIZE), (1, 2, SIZE)]
    if static:
        inputs.insert(2, (2, 5))
    check_gradients(definition("expose_hidden: true"), inputs, tops=3)


def test_gradient_with_fractional_markers():
    cont = np.random.default_rng(1).uniform(0, 1, (3, 2))
    inputs = [(3, 2, 4), cont, (1, 2, SIZE), (1, 2, SIZE)]
    check_gradients(definition("expose_hidden: true"), inputs, tops=3)


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("LSTM",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
