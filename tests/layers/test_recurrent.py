"""What RNN and LSTM have in common; their formulas are in test_rnn.py and test_lstm.py, and what
they carry from one batch to the next in test_carried_state.py."""

import logging

import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn.blob import Blob
from caffe_spn.errors import PrototxtError, ShapeError
from caffe_spn.layer import create_layer
from caffe_spn.proto import caffe_pb2, text
from tests.layers.running import Run, normal
from tests.layers.test_lstm import markers

STATES = {"LSTM": 2, "RNN": 1}
FILLERS = 'weight_filler { type: "gaussian" std: 0.5 } bias_filler { type: "gaussian" std: 0.5 }'
both = pytest.mark.parametrize("kind", STATES)


def definition(kind, rest="", size=3):
    return f'type: "{kind}" recurrent_param {{ num_output: {size} {FILLERS} {rest} }}'


def parsed(content):
    return text.parse(content, caffe_pb2.LayerParameter(name="r"), "<layer>")


def feed(run, *values):
    for blob, value in zip(run.bottom, values, strict=True):
        blob.reshape(*np.shape(value))
        blob.data[...] = value
    run.forward()
    return run.out.copy()


def params_of(run):
    return [blob.data.copy() for blob in run.layer.blobs]


# Numbers


@both
@pytest.mark.parametrize("shape", [(12, 16, 40), (3, 1, 7)])
def test_compiled_equals_float64(kind, shape):
    steps, streams, _ = shape
    x, cont, static = normal(*shape), markers(steps, streams), normal(streams, 9, seed=1)
    text = f'type: "{kind}" recurrent_param {{ num_output: 32 weight_filler {{ type: "xavier" }} }}'
    top_diff = normal(steps, streams, 32, seed=2)
    run = Run(text, x, cont, static)
    run.backward(top_diff)
    layer = create_layer(parsed(text), dtype=np.float64)
    bottom, top = [Blob(b.shape, np.float64) for b in run.bottom], [Blob((), np.float64)]
    for blob, value in zip(bottom, (x, cont, static), strict=True):
        blob.data[...] = value
    layer.setup(bottom, top)
    layer.reshape(bottom, top)
    for blob, value in zip(layer.blobs, params_of(run), strict=True):
        blob.data[...] = value
    layer.param_propagate_down = [True] * len(layer.blobs)
    layer.forward(bottom, top)
    top[0].diff[...] = top_diff
    layer.backward(top, [True, False, True], bottom)
    np.testing.assert_allclose(run.out, top[0].data, 1e-4, 1e-5)
    wanted = [bottom[0], bottom[2], *layer.blobs]
    for got, want in zip((run.bottom[0], run.bottom[2], *run.layer.blobs), wanted, strict=True):
        np.testing.assert_allclose(got.diff, want.diff, 1e-3, 1e-5 * np.abs(want.diff).max())


@both
def test_parameter_diffs_accumulate_and_bottom_diffs_do_not(kind):
    run = Run(definition(kind), normal(3, 2, 4), np.ones((3, 2)), normal(2, 5))
    top_diff = normal(3, 2, 3, seed=1)
    bottom = [diff.copy() for diff in run.backward(top_diff)]
    params = [blob.diff.copy() for blob in run.layer.blobs]
    again = run.backward(top_diff)
    for i in (0, 2):
        np.testing.assert_array_equal(again[i], bottom[i])
    for blob, once in zip(run.layer.blobs, params, strict=True):
        assert once.any()
        np.testing.assert_allclose(blob.diff, 2 * once, 1e-5, 1e-6)


@both
def test_only_wanted_diffs_are_written(kind):
    run = Run(definition(kind), normal(3, 2, 4), np.ones((3, 2)), normal(2, 5))
    wanted = run.layer.param_propagate_down
    for i in range(len(wanted)):
        wanted[:] = [j == i for j in range(len(wanted))]
        for blob in (*run.bottom, *run.layer.blobs):
            blob.diff.fill(0)
        run.backward(normal(3, 2, 3, seed=1), propagate=[False] * 3)
        assert [bool(blob.diff.any()) for blob in run.layer.blobs] == wanted
        assert not any(blob.diff.any() for blob in run.bottom)
    wanted[:] = [False] * len(wanted)
    for i in (0, 2):
        run.bottom[2 - i].diff.fill(7)
        run.backward(normal(3, 2, 3, seed=1), propagate=[j == i for j in range(3)])
        assert (run.bottom[2 - i].diff == 7).all() and (run.bottom[i].diff != 7).all()


@both
def test_nan_stays_in_its_stream(kind):
    x = normal(3, 2, 4)
    x[1, 1, 0] = np.nan
    out = Run(definition(kind), x, np.ones((3, 2))).out
    assert np.isnan(out).all(axis=2).tolist() == [[False, False], [False, True], [False, True]]
    assert np.isfinite(out[:, 0]).all()


@both
def test_fillers(kind):
    run = Run(
        f'type: "{kind}" recurrent_param {{ num_output: 2 weight_filler {{ value: 2 }}'
        " bias_filler { value: 3 } }",
        normal(1, 1, 4),
        [[1]],
    )
    # The weights are matrices, the biases vectors.
    assert all((b.data == (2 if len(b.shape) == 2 else 3)).all() for b in run.layer.blobs)
    plain = Run(f'type: "{kind}" recurrent_param {{ num_output: 2 }}', normal(1, 1, 4), [[1]])
    assert not any(blob.data.any() for blob in plain.layer.blobs)


# The definition and the shapes


@both
def test_num_output_is_needed(kind):
    with pytest.raises(PrototxtError, match="has num_output 0"):
        Run(f'type: "{kind}"', normal(3, 2, 4), np.ones((3, 2)))


@both
def test_without_exposure_there_are_2_or_3_bottoms(kind):
    state = normal(1, 2, 3)
    with pytest.raises(PrototxtError, match=r"has 4 bottom.* 2 to 3 \(x, cont, x_static\)"):
        Run(definition(kind), normal(3, 2, 4), np.ones((3, 2)), state, state)
    with pytest.raises(PrototxtError, match=r"has 2 top\(s\); .* makes 1 "):
        Run(definition(kind), normal(3, 2, 4), np.ones((3, 2)), tops=2)


@both
def test_exposure_needs_all_states(kind):
    text, x, cont = definition(kind, "expose_hidden: true"), normal(3, 2, 4), np.ones((3, 2))
    with pytest.raises(PrototxtError, match=r"has 2 bottom.* x_static, h_0"):
        Run(text, x, cont, tops=1 + STATES[kind])
    states = [normal(1, 2, 3)] * STATES[kind]
    with pytest.raises(PrototxtError, match=r"has 1 top.* h_T"):
        Run(text, x, cont, *states)


@both
@pytest.mark.parametrize("shape", [(3, 2), (0, 2, 4)])
def test_x_has_steps_streams_and_values(kind, shape):
    with pytest.raises(ShapeError, match=r"bottom 0 \(x\) is .* at least 3 axes: \(T, N, \.\.\.\)"):
        Run(definition(kind), np.zeros(shape), np.ones(shape[:2]))


@both
@pytest.mark.parametrize("shape", [(3, 1), (2, 3), (3, 2, 1), (6,)])
def test_each_step_and_stream_has_a_marker(kind, shape):
    with pytest.raises(
        ShapeError, match=r"bottom 1 \(cont\) is .* it must be \(3, 2\), one marker"
    ):
        Run(definition(kind), normal(3, 2, 4), np.ones(shape))


@both
@pytest.mark.parametrize("shape", [(3, 4), (2,)])
def test_each_stream_has_a_static_input(kind, shape):
    with pytest.raises(ShapeError, match=r"bottom 2 \(x_static\) is .* it must be \(2, \.\.\.\)"):
        Run(definition(kind), normal(3, 2, 4), np.ones((3, 2)), normal(*shape))


@both
def test_the_size_of_the_inputs_must_not_change(kind):
    run = Run(definition(kind), normal(3, 2, 4), np.ones((3, 2)), normal(2, 5))
    with pytest.raises(ShapeError, match=r"bottom 0 \(x\) has 6 values .* made for 4"):
        feed(run, normal(3, 2, 6), np.ones((3, 2)), normal(2, 5))
    with pytest.raises(ShapeError, match=r"bottom 2 \(x_static\) has 4 values .* made for 5"):
        feed(run, normal(3, 2, 4), np.ones((3, 2)), normal(2, 4))


@both
@pytest.mark.parametrize("shape", [(2, 3), (1, 2, 4), (1, 3, 3)])
def test_exposed_states_must_fit(kind, shape):
    text, states = definition(kind, "expose_hidden: true"), [normal(1, 2, 3)] * STATES[kind]
    states[-1] = normal(*shape)
    name = "c_0" if kind == "LSTM" else "h_0"
    with pytest.raises(ShapeError, match=rf"\({name}\) is .*; it must be \(1, 2, 3\): one state"):
        Run(text, normal(3, 2, 4), np.ones((3, 2)), *states, tops=1 + STATES[kind])


@both
def test_markers_have_no_gradient(kind):
    run = Run(definition(kind), normal(3, 2, 4), np.ones((3, 2)))
    assert not run.layer.allow_force_backward(1)
    with pytest.raises(PrototxtError, match=r"cannot compute a gradient of bottom 1 \(cont\)"):
        run.backward(0, propagate=[True, True])


@both
def test_given_weights_must_fit(kind):
    layer = Run(definition(kind), normal(1, 2, 4), np.ones((1, 2))).layer
    layer.blobs[0] = Blob((2, 3))
    with pytest.raises(ShapeError, match=r"was given blobs of shapes \[\(2, 3\), "):
        layer.setup([Blob((1, 2, 4)), Blob((1, 2))], [Blob()])


@both
def test_debug_info_shows_every_step(kind, caplog):
    with caplog.at_level(logging.INFO, logger="caffe_spn"):
        run = Run(definition(kind, "debug_info: true"), normal(2, 1, 4), np.ones((2, 1)))
        run.backward(1)
    lines = [record.getMessage() for record in caplog.records]
    blobs = {"LSTM": ["unit_1, top blob c_1", "unit_1, top blob h_1"]}
    blobs["RNN"] = ["h_neuron_1, top blob h_1", "o_neuron_1, top blob o_1"]
    start = "    [Forward] Layer tested_"
    assert [line.split(" data:")[0] for line in lines[:2]] == [start + name for name in blobs[kind]]
    assert len(lines) == 6  # two blobs of two steps, then one diff of each
    value = float(np.abs(run.out[1]).mean())
    assert lines[3].endswith(f" data: {value:g}")
    assert [line.split("blob ")[1].split()[0] for line in lines[4:]] == [
        "gate_input_2",
        "gate_input_1",
    ]


# In nets

NET = """
layer {{ name: "d" type: "DummyData" top: "x" top: "t" top: "cont" dummy_data_param {{
  shape {{ dim: [3, 2, 4] }} shape {{ dim: [3, 2, 3] }} shape {{ dim: [3, 2] }}
  data_filler {{ type: "gaussian" }} data_filler {{ type: "uniform" min: -0.5 max: 0.5 }}
  data_filler {{ value: 1 }} }} }}
layer {{ name: "i" {recurrent} bottom: "x" bottom: "cont" top: "y" }}
layer {{ name: "l" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }}
"""


def net_of(kind):
    return NET.format(recurrent=definition(kind))


@both
@pytest.mark.parametrize("name", ["w.caffemodel", "w.caffemodel.h5"])
def test_weights_are_saved_and_loaded(kind, name, tmp_path):
    (tmp_path / "net.prototxt").write_text(net_of(kind))
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TRAIN)
    path = str(tmp_path / name)
    save = net.save_hdf5 if name.endswith(".h5") else net.save
    save(path)
    other = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST, weights=path)
    for ours, theirs in zip(other.params["i"], net.params["i"], strict=True):
        np.testing.assert_array_equal(ours.data, theirs.data)


@both
def test_a_net_that_shares_weights_sees_them_change(kind, tmp_path):
    (tmp_path / "net.prototxt").write_text(net_of(kind))
    nets = [caffe.Net(str(tmp_path / "net.prototxt"), caffe.TRAIN) for _ in range(2)]
    nets[1].share_with(nets[0])
    nets[1].forward()
    assert nets[1].blobs["y"].data.any()
    for blob in nets[0].params["i"]:
        blob.data[...] = 0
    nets[1].layer_dict["i"].reset()
    nets[1].forward()
    assert not nets[1].blobs["y"].data.any()


@both
def test_two_layers_can_share_their_parameters(kind):
    count = 5 if kind == "RNN" else 3
    named = " ".join(f'param {{ name: "p{i}" }}' for i in range(count))
    shared = f'{definition(kind)} {named} bottom: "x" bottom: "cont"'
    layers = "".join(f'layer {{ name: "{top}" {shared} top: "{top}" }}' for top in ("y", "z"))
    inputs = 'layer { name: "x" type: "Input" top: "x" top: "cont"'
    inputs += " input_param { shape { dim: [3, 2, 4] } shape { dim: [3, 2] } } }"
    net = caffe.Net(text.parse(inputs + layers, caffe_pb2.NetParameter()), caffe.TRAIN)
    net.blobs["x"].data[...] = normal(3, 2, 4)
    net.forward()
    assert net.blobs["y"].data.any()
    np.testing.assert_array_equal(net.blobs["y"].data, net.blobs["z"].data)
    assert len(net.learnable_params) == count


@both
def test_a_net_can_be_reshaped_for_generation(kind, tmp_path):
    """As captioning scripts do: one step of one stream, fed with `cont` 0, then 1."""
    inputs = 'layer { name: "x" type: "Input" top: "x" top: "cont"'
    inputs += " input_param { shape { dim: [3, 2, 4] } shape { dim: [3, 2] } } }"
    layer = f'layer {{ name: "i" {definition(kind)} bottom: "x" bottom: "cont" top: "y" }}'
    net = caffe.Net(text.parse(inputs + layer, caffe_pb2.NetParameter()), caffe.TEST)
    x = normal(3, 1, 4)
    net.blobs["x"].reshape(3, 1, 4)
    net.blobs["cont"].reshape(3, 1)
    whole = net.forward(x=x, cont=np.array([[0], [1], [1]]))["y"].copy()
    net.blobs["x"].reshape(1, 1, 4)
    net.blobs["cont"].reshape(1, 1)
    net.reshape()
    for t in range(3):
        out = net.forward(x=x[t : t + 1], cont=np.full((1, 1), float(t > 0)))["y"]
        np.testing.assert_allclose(out[0], whole[t], 1e-5)
