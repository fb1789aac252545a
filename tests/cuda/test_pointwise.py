"""The pointwise formulas on a GPU: against the layers' CPU paths, and against Caffe's records."""

import numpy as np
import pytest

import caffe_spn
from caffe_spn.cuda.runtime import runtime
from tests import golden_cases
from tests.cuda import both_devices
from tests.layers.running import Run, normal

# Definitions, by what they exercise of a formula.
LAYERS = {
    "relu": 'type: "ReLU"',
    "leaky relu": 'type: "ReLU" relu_param { negative_slope: 0.1 }',
    "elu": 'type: "ELU" elu_param { alpha: 0.7 }',
    "sigmoid": 'type: "Sigmoid"',
    "tanh": 'type: "TanH"',
    "absval": 'type: "AbsVal"',
    "bnll": 'type: "BNLL"',
    "swish": 'type: "Swish" swish_param { beta: 1.5 }',
    "clip": 'type: "Clip" clip_param { min: -0.5 max: 1 }',
    "crossed clip": 'type: "Clip" clip_param { min: 1 max: -1 }',
    "threshold": 'type: "Threshold" threshold_param { threshold: 0.3 }',
    "divide": 'type: "Divide" divide_param { alpha: 2.5 }',
    "divide 0": 'type: "Divide" divide_param { alpha: 0 }',
    "exp": 'type: "Exp" exp_param { base: 2 scale: 0.5 shift: 1 }',
    "log": 'type: "Log" log_param { base: 10 scale: 0.5 shift: 9 }',
    "power 1": 'type: "Power" power_param { scale: 3 shift: -1 }',
    "power 2": 'type: "Power" power_param { power: 2 scale: 0.5 shift: 1 }',
    "power 3": 'type: "Power" power_param { power: 3 scale: 2 }',
    "power -0.5": 'type: "Power" power_param { power: -0.5 shift: 9 }',
    "power 0": 'type: "Power" power_param { power: 0 shift: 2 }',
    "power of a constant": 'type: "Power" power_param { power: 2 scale: 0 shift: 3 }',
    "prelu": 'type: "PReLU" prelu_param { filler { value: 0.3 } }',
    "shared prelu": 'type: "PReLU" prelu_param { channel_shared: true }',
    "dropout of none": 'type: "Dropout" dropout_param { dropout_ratio: 0 }',
}
NOT_IN_PLACE = ("absval",)
# Counts of 1, of a multiple of 4 and of none; channels in short and in long runs.
SHAPES = {"one": (1, 1), "odd": (3, 5, 7), "even": (2, 3, 4, 4), "long": (2, 3, 5, 33)}
EACH_SHAPE = pytest.mark.parametrize(
    "shape",
    [
        pytest.param(shape, id=name, marks=[pytest.mark.sanitized] if name == "odd" else [])
        for name, shape in SHAPES.items()
    ],
)
EACH = pytest.mark.parametrize("name", LAYERS)

pytestmark = pytest.mark.filterwarnings("ignore:.*in place:UserWarning")


def run(name, x, diff, in_place=False):
    """The top, the bottom's diff, and the parameters' diffs."""
    layer = Run(LAYERS[name], x, in_place=in_place)
    top = layer.out.copy()
    if name == "threshold":
        return [top]
    for blob in layer.layer.blobs:
        blob.diff[...] = 0.5  # what is there is added to
    layer.backward(diff)
    return [top, layer.bottom[0].diff.copy(), *(b.diff.copy() for b in layer.layer.blobs)]


def compare(name, x, diff, in_place=False):
    caffe_spn.set_mode_cpu()
    wanted = run(name, x, diff, in_place)
    caffe_spn.set_mode_gpu()
    launches = runtime().launches
    results = run(name, x, diff, in_place)
    assert runtime().launches > launches or not x.size, "computed on the host"
    for got, want in zip(results, wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-6)


@EACH_SHAPE
@EACH
def test_as_on_the_cpu(name, shape, gpu):
    compare(name, normal(*shape), normal(*shape, seed=1))


@pytest.mark.parametrize("name", [n for n in LAYERS if n not in NOT_IN_PLACE])
def test_in_place(name, gpu):
    compare(name, normal(2, 3, 7), normal(2, 3, 7, seed=1), in_place=True)


@EACH
def test_where_formulas_change(name, gpu):
    x = np.array([[0.0, -0.0, 1e-7, -1e-7, 1, -1, 0.3, -0.5, np.nan, 80, -80]], np.float32)
    compare(name, np.repeat(x, 2, axis=0), normal(2, 11))


@EACH
def test_no_elements(name, gpu):
    compare(name, np.zeros((0, 3, 2)), np.zeros((0, 3, 2)))


@EACH
def test_nothing_is_copied_between_passes(name, gpu):
    caffe_spn.set_mode_gpu()
    layer = Run(LAYERS[name], normal(2, 3, 4))
    before = gpu.uploads, gpu.downloads
    layer.forward()
    assert (gpu.uploads, gpu.downloads) == before


@pytest.mark.parametrize("start", [1, 2, 3])
@pytest.mark.sanitized
def test_misaligned_arrays(start, gpu):
    from caffe_spn.cuda import pointwise

    x = normal(21)
    source, target = gpu.array((24,)), gpu.array((24,))
    gpu.upload(source.part(start, (21,)), x)
    pointwise.forward("tanh", source.part(start, (21,)), target.part(3 - start, (21,)))
    got = np.empty(21, np.float32)
    gpu.download(got, target.part(3 - start, (21,)))
    np.testing.assert_allclose(got, np.tanh(x), rtol=1e-6)


def test_more_elements_than_threads(gpu, monkeypatch):
    monkeypatch.setattr(caffe_spn.cuda.runtime, "MOST_BLOCKS", 2)
    compare("swish", normal(5001), normal(5001, seed=1))


def test_sizes_must_agree(gpu):
    from caffe_spn.cuda import pointwise

    with pytest.raises(caffe_spn.errors.ShapeError, match=r"tanh_forward: y is \(3,\) .* 2 elem"):
        pointwise.forward("tanh", gpu.array((2,)), gpu.array((3,)))


TYPES = (
    *("ReLU", "PReLU", "ELU", "Sigmoid", "TanH", "AbsVal", "BNLL", "Swish", "Clip"),
    *("Threshold", "Divide", "Exp", "Log", "Power"),
)


@pytest.mark.parametrize("case", golden_cases.cases("layer", types=TYPES), ids=golden_cases.case_id)
def test_as_recorded_from_caffe(case, tmp_path, gpu):
    both_devices.run_golden(gpu, case, tmp_path)
