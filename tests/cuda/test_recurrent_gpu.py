"""LSTM, RNN and LSTMUnit on a GPU: against their CPU paths, and against Caffe's records."""

import numpy as np
import pytest

import caffe_spn
from caffe_spn.cuda import recurrent
from caffe_spn.errors import PrototxtError, ShapeError
from tests import golden_cases
from tests.cuda import both_devices
from tests.cuda.arrays import empty, normal
from tests.layers.running import Run

# Steps, streams, inputs, outputs.
SIZES = {"one": (1, 1, 1, 1), "odd": (5, 3, 4, 7), "streams": (2, 40, 3, 2)}
STATES = {"LSTM": 2, "RNN": 1}


def definition(layer_type, exposed=False, rest=""):
    text = f"num_output: %d expose_hidden: {str(exposed).lower()} {rest}"
    return f'type: "{layer_type}" recurrent_param {{ {text} }}'


def bottoms_of(layer_type, sizes, static, exposed):
    steps, streams, inputs, outputs = sizes
    cont = (np.arange(steps * streams).reshape(steps, streams) % 3 > 0).astype(np.float32)
    made = [normal(steps, streams, inputs), cont]
    if static:
        made.append(normal(streams, 2, 3, seed=1))
    if exposed:
        made += [normal(1, streams, outputs, seed=2 + i) for i in range(STATES[layer_type])]
    return made


def everything(text, bottoms, tops, passes=2):
    """Tops, bottom diffs and parameter diffs of some passes; each goes on from the last."""
    run = Run(text, *bottoms, tops=tops)
    for i, blob in enumerate(run.layer.blobs):
        blob.data[...] = normal(*blob.shape, seed=10 + i)
    found = []
    for seed in range(passes):
        run.forward()
        diffs = [normal(*top.shape, seed=20 + seed + i) for i, top in enumerate(run.top)]
        found += [top.data.copy() for top in run.top]
        found += [diff.copy() for diff in run.backward(*diffs)]
    return found + [blob.diff.copy() for blob in run.layer.blobs]


def compare(gpu, text, bottoms, tops):
    wanted = everything(text, bottoms, tops)
    caffe_spn.set_mode_gpu()
    launches = gpu.launches
    found = everything(text, bottoms, tops)
    assert gpu.launches > launches
    caffe_spn.set_mode_cpu()
    for i, (on_gpu, on_cpu) in enumerate(zip(found, wanted, strict=True)):
        np.testing.assert_allclose(on_gpu, on_cpu, 1e-4, 1e-4, err_msg=f"array {i}")


@pytest.mark.sanitized
@pytest.mark.parametrize("exposed", [False, True])
@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("layer_type", STATES)
def test_as_on_the_cpu(gpu, layer_type, sizes, static, exposed):
    bottoms = bottoms_of(layer_type, sizes, static, exposed)
    tops = 1 + STATES[layer_type] * exposed
    compare(gpu, definition(layer_type, exposed) % sizes[3], bottoms, tops)


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (40, 2)])
def test_unit(gpu, shape):
    streams, size = shape
    cont = (np.arange(streams) % 2).astype(np.float32)[None]
    bottoms = [normal(1, *shape), normal(1, streams, 4 * size, seed=1), cont]
    compare(gpu, 'type: "LSTMUnit"', bottoms, 2)


@pytest.mark.parametrize("wanted", [(True, False, False), (False, True, False)])
def test_only_wanted_diffs_of_the_unit_are_written(gpu, wanted):
    caffe_spn.set_mode_gpu()
    run = Run('type: "LSTMUnit"', normal(1, 2, 3), normal(1, 2, 12), np.ones((1, 2)), tops=2)
    diffs = run.backward(normal(1, 2, 3), normal(1, 2, 3, seed=1), propagate=wanted)
    assert [bool(diff.any()) for diff in diffs] == list(wanted)


def test_the_markers_are_not_learned(gpu):
    caffe_spn.set_mode_gpu()
    run = Run(definition("LSTM") % 2, *bottoms_of("LSTM", (2, 2, 3, 2), False, False))
    with pytest.raises(PrototxtError, match="gradient of bottom 1"):
        run.backward(normal(2, 2, 2), propagate=[True, True])


@pytest.mark.parametrize("layer_type", STATES)
def test_the_number_of_steps_and_streams_may_change(gpu, layer_type):
    found = []
    for set_mode in (caffe_spn.set_mode_cpu, caffe_spn.set_mode_gpu):
        set_mode()
        run = Run(definition(layer_type) % 7, *bottoms_of(layer_type, (3, 4, 5, 7), False, False))
        for i, blob in enumerate(run.layer.blobs):
            blob.data[...] = normal(*blob.shape, seed=10 + i)
        for steps, streams in ((6, 4), (2, 4), (4, 2), (1, 9)):
            made = bottoms_of(layer_type, (steps, streams, 5, 7), False, False)
            made[1][0] = 1  # so that the state goes on
            for blob, values in zip(run.bottom, made, strict=True):
                blob.reshape(*values.shape)
                blob.data[...] = values
            run.forward()
            diff = normal(steps, streams, 7, seed=steps)
            found.append([run.out.copy(), run.backward(diff, propagate=[True, False])[0].copy()])
    for on_cpu, on_gpu in zip(found[:4], found[4:], strict=True):
        for wanted, got in zip(on_cpu, on_gpu, strict=True):
            np.testing.assert_allclose(got, wanted, 1e-4, 1e-4)


@pytest.mark.parametrize("exposed", [False, True])
@pytest.mark.parametrize("layer_type", STATES)
def test_a_step_is_a_product_and_a_launch(gpu, layer_type, exposed):
    caffe_spn.set_mode_gpu()
    counts = []
    for steps in (3, 8):
        bottoms = bottoms_of(layer_type, (steps, 2, 3, 4), False, exposed)
        tops = 1 + STATES[layer_type] * exposed
        run = Run(definition(layer_type, exposed) % 4, *bottoms, tops=tops)
        start = gpu.launches
        run.forward()
        between = gpu.launches
        run.backward(*(normal(*top.shape) for top in run.top))
        counts.append((between - start, gpu.launches - between))
    more = np.subtract(*counts[::-1])
    assert more.tolist() == [5 * 2, 5 * 2]


def test_with_debug_info_it_runs_on_the_host(gpu):
    caffe_spn.set_mode_gpu()
    launches = gpu.launches
    bottoms = bottoms_of("RNN", (2, 2, 3, 2), False, False)
    run = Run(definition("RNN", rest="debug_info: true") % 2, *bottoms)
    run.backward(normal(2, 2, 2))
    assert gpu.launches == launches


def test_sizes_are_checked(gpu):
    with pytest.raises(ShapeError, match="mask: 3 markers for 2 streams"):
        recurrent.mask(empty((2, 4)), empty((3,)), empty((2, 4)))
    with pytest.raises(ShapeError, match=r"gates is \(2, 8\) .* 32 elements"):
        step = [empty((2, 4)) for _ in range(5)]
        recurrent.lstm_forward(empty((2, 8)), empty((2,)), *step)


RECORDED = golden_cases.cases("layer", types=("LSTM", "RNN", "LSTMUnit"))


@pytest.mark.parametrize("case", RECORDED, ids=golden_cases.case_id)
def test_as_caffe_recorded(gpu, case, tmp_path):
    both_devices.run_golden(gpu, case, tmp_path)
