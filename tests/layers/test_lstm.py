import math

import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn.gradient_check import check_gradients
from caffe_spn.proto import caffe_pb2, text
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


def unrolled(steps, streams, inputs, static):
    """The net that Caffe makes inside the layer; its parameters are p0, p1, ... as the layer's."""
    rows = f"num_output: {4 * SIZE} axis: 2"
    last = "p3" if static else "p2"
    lines = [
        "force_backward: true",
        'layer { name: "in" type: "Input" top: "x" top: "cont" top: "h_0" top: "c_0" input_param {'
        f" shape {{ dim: [{steps}, {streams}, {inputs}] }} shape {{ dim: [{steps}, {streams}] }}"
        f" shape {{ dim: [1, {streams}, {SIZE}] }} shape {{ dim: [1, {streams}, {SIZE}] }} }} }}",
        'layer { name: "W_x" type: "InnerProduct" bottom: "x" top: "W_x"'
        f' param {{ name: "p0" }} param {{ name: "p1" }} inner_product_param {{ {rows} }} }}',
    ]
    times = range(1, steps + 1)
    tops = [" ".join(f'top: "{name}_{t}"' for t in times) for name in ("W_x", "cont")]
    for name, parts in zip(("W_x", "cont"), tops, strict=True):
        lines.append(
            f'layer {{ name: "{name}_slice" type: "Slice" bottom: "{name}" {parts}'
            " slice_param { axis: 0 } }"
        )
    if static:
        lines += [
            'layer { name: "s" type: "Input" top: "x_static"'
            f" input_param {{ shape {{ dim: [1, {streams}, {static}] }} }} }}",
            'layer { name: "W_s" type: "InnerProduct" bottom: "x_static" top: "W_s"'
            f' param {{ name: "p2" }} inner_product_param {{ {rows} bias_term: false }} }}',
        ]
    also = 'bottom: "W_s"' if static else ""
    for t in times:
        lines += [
            f'layer {{ name: "cut_{t}" type: "Scale" bottom: "h_{t - 1}" bottom: "cont_{t}"'
            f' top: "cut_{t}" scale_param {{ axis: 0 }} }}',
            f'layer {{ name: "W_h_{t}" type: "InnerProduct" bottom: "cut_{t}" top: "W_h_{t}"'
            f' param {{ name: "{last}" }} inner_product_param {{ {rows} bias_term: false }} }}',
            f'layer {{ name: "sum_{t}" type: "Eltwise" bottom: "W_h_{t}" bottom: "W_x_{t}" {also}'
            f' top: "sum_{t}" }}',
            f'layer {{ name: "unit_{t}" type: "LSTMUnit" bottom: "c_{t - 1}" bottom: "sum_{t}"'
            f' bottom: "cont_{t}" top: "c_{t}" top: "h_{t}" }}',
        ]
    outputs = " ".join(f'bottom: "h_{t}"' for t in times)
    lines.append(
        f'layer {{ name: "y" type: "Concat" {outputs} top: "y" concat_param {{ axis: 0 }} }}'
    )
    return caffe.Net(text.parse("\n".join(lines), caffe_pb2.NetParameter()), caffe.TRAIN)


@pytest.mark.parametrize("static", [0, 4])
def test_equals_the_net_that_caffe_unrolls(static):
    x, cont, top_diff = normal(4, 2, 5), markers(4, 2), normal(4, 2, SIZE, seed=7)
    bottoms = {"x": x, "cont": cont} | ({"x_static": normal(2, static, seed=1)} if static else {})
    params = make_params(5, static or None)
    run = Run(definition(), *bottoms.values(), params=params)
    run.backward(top_diff)
    net = unrolled(4, 2, 5, static)
    for blob, value in zip(net.learnable_params, params, strict=True):
        blob.data[...] = value
    for name, value in bottoms.items():
        net.blobs[name].data[...] = value.reshape(net.blobs[name].shape)
    net.forward()
    np.testing.assert_allclose(run.out, net.blobs["y"].data, 1e-5, 1e-6)
    net.blobs["y"].diff[...] = top_diff
    net.clear_param_diffs()
    net.backward()
    for name, blob in zip(bottoms, run.bottom, strict=True):
        if name != "cont":
            wanted = net.blobs[name].diff.reshape(blob.shape)
            np.testing.assert_allclose(blob.diff, wanted, 1e-4, 1e-5)
    for blob, other in zip(run.layer.blobs, net.learnable_params, strict=True):
        np.testing.assert_allclose(blob.diff, other.diff, 1e-4, 1e-5)
