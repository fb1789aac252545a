"""Every layer type has a GPU path, or a reason to have none; and its passes stay on the device."""

import re
from pathlib import Path

import numpy as np
import pytest

import caffe_spn
from caffe_spn.cuda import runtime
from caffe_spn.gpu_layer import GpuLayer
from caffe_spn.layer import layer_class, layer_type_list
from tests.cuda.arrays import normal
from tests.layers.running import Run

ON_HOST = {
    "HDF5Output": "it writes a file",
    "Python": "pycaffe's layers compute in NumPy",
}

# Their batches are made on the host and uploaded; there is no backward pass.
UPLOADED = {"Data", "HDF5Data", "ImageData", "MemoryData", "SegmentationPatch", "WindowData"}

# How many blobs they read on the host in forward: where the numbers decide what is read or how
# large the tops are, they must be checked or counted first.
READ_ON_HOST = {"BatchReindex": 1, "Embed": 1, "Filter": 1, "ROI": 1}

X = normal(2, 3, 4, 5)
ROWS, SIGNS = normal(3, 4), np.array([1, 0, 1])
CLASSES = np.array([1, 0, 2, 3, 1, 1]).reshape(2, 3)
WEIGHTS = 'weight_filler { type: "xavier" }'
RECURRENT = f"recurrent_param {{ num_output: 4 {WEIGHTS} }}"
STEPS = (normal(3, 2, 5), np.array([[0, 0], [1, 1], [1, 0]]))

# What stands behind the type, the bottoms, and how many tops there are if not one.
LAYERS = {
    "AbsVal": ("", X),
    "Accuracy": ("", normal(2, 4, 3), CLASSES),
    "ArgMax": ("", X),
    "BNLL": ("", X),
    "BatchNorm": ("", X),
    "BatchReindex": ("", X, [1, 0, 1]),
    "Bias": ("", X, normal(3)),
    "Clip": ("clip_param { min: -1 max: 1 }", X),
    "Concat": ("", X, X),
    "ContrastiveLoss": ("", ROWS, normal(3, 4, seed=1), SIGNS),
    "Convolution": (f"convolution_param {{ num_output: 2 kernel_size: 3 {WEIGHTS} }}", X),
    "Crop": ("crop_param { offset: 1 }", X, normal(2, 3, 2, 3)),
    "Deconvolution": (f"convolution_param {{ num_output: 2 kernel_size: 3 {WEIGHTS} }}", X),
    "Divide": ("", X),
    "Dropout": ("", X),
    "DummyData": ("dummy_data_param { shape { dim: 3 } }",),
    "ELU": ("", X),
    "Eltwise": ("", X, X),
    "Embed": (f"embed_param {{ input_dim: 4 num_output: 5 {WEIGHTS} }}", CLASSES),
    "EuclideanLoss": ("", X, normal(*X.shape, seed=1)),
    "Exp": ("", X),
    "Filter": ("", ROWS, SIGNS),
    "Flatten": ("", X),
    "GateRecurrent2dnoind": ("", X, X, X, X),
    "HingeLoss": ("", ROWS, SIGNS),
    "Im2col": ("convolution_param { kernel_size: 3 }", X),
    "InfogainLoss": ("", ROWS, SIGNS, normal(4, 4)),
    "InnerProduct": (f"inner_product_param {{ num_output: 2 {WEIGHTS} }}", X),
    "Input": ("input_param { shape { dim: 3 } }",),
    "LRN": ("", X),
    "LSTM": (RECURRENT, *STEPS),
    "LSTMUnit": ("", normal(1, 2, 4), normal(1, 2, 16), np.ones((1, 2)), 2),
    "Log": ("", abs(X)),
    "MVN": ("", X),
    "MultinomialLogisticLoss": ("", abs(ROWS), SIGNS),
    "PReLU": ("", X),
    "Parameter": ("parameter_param { shape { dim: 3 } }",),
    "Pooling": ("pooling_param { kernel_size: 2 }", X),
    "Power": ("power_param { power: 2 }", X),
    "RNN": (RECURRENT, *STEPS),
    "ROI": ("roi_param { pooled_h: 2 pooled_w: 3 }", X, [[1, 2, 1, 4, 2]]),
    "ReLU": ("", X),
    "Reduction": ("", X),
    "Reshape": ("reshape_param { shape { dim: -1 } }", X),
    "SPP": ("spp_param { pyramid_height: 2 }", X),
    "Scale": ("", X, normal(3)),
    "Sigmoid": ("", X),
    "SigmoidCrossEntropyLoss": ("", X, np.round(abs(X))),
    "Silence": ("", X, 0),
    "Slice": ("slice_param { slice_point: 1 }", X, 2),
    "Softmax": ("", X),
    "SoftmaxWithLoss": ("", normal(2, 4, 3), CLASSES),
    "SpatialPropagation": ("", X, normal(2, 36, 4, 5)),
    "Split": ("", X, 2),
    "Swish": ("", X),
    "TanH": ("", X),
    "Threshold": ("", X),
    "Tile": ("tile_param { tiles: 2 }", X),
}


def test_these_are_all():
    # Other tests register types of their own.
    own = {t for t in layer_type_list() if layer_class(t).__module__.startswith("caffe_spn.")}
    assert own == LAYERS.keys() | UPLOADED | ON_HOST.keys()


@pytest.mark.parametrize("layer_type", sorted(LAYERS.keys() | UPLOADED))
def test_has_a_gpu_path(layer_type):
    kind = layer_class(layer_type)
    assert kind.forward_gpu is not GpuLayer.forward_gpu
    assert kind.backward_gpu is not GpuLayer.backward_gpu or layer_type in UPLOADED


@pytest.mark.parametrize("layer_type", ON_HOST.keys() - {"Python"})
def test_needs_no_reason_any_more(layer_type):
    assert layer_class(layer_type).forward_gpu is GpuLayer.forward_gpu, "ON_HOST is out of date"


def test_the_page_says_what_runs_on_the_cpu():
    page = (Path(__file__).parents[2] / "docs" / "gpu.md").read_text(encoding="utf-8")
    section = page.partition("## What runs on the CPU")[2].partition("\n## ")[0]
    table, text = section.split("\n\n", 2)[1:]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.MULTILINE))
    assert rows == ON_HOST
    types = set(re.findall(r"`([A-Z]\w+)`", text))
    assert types == UPLOADED | READ_ON_HOST.keys()


@pytest.fixture
def no_way_back(gpu, monkeypatch):
    """A layer that calls for the CPU's path fails."""

    def refuse(self, *_):
        pytest.fail(f"{self.type} runs on the host")

    monkeypatch.setattr(GpuLayer, "forward_gpu", refuse)
    monkeypatch.setattr(GpuLayer, "backward_gpu", refuse)
    caffe_spn.set_mode_gpu()


@pytest.mark.parametrize("layer_type", LAYERS)
def test_stays_on_the_device(gpu, layer_type, no_way_back):
    rest, *bottoms = LAYERS[layer_type]
    tops = bottoms.pop() if bottoms and isinstance(bottoms[-1], int) else 1
    run = Run(f'type: "{layer_type}" {rest}', *bottoms, tops=tops)
    for blob in run.bottom:
        blob.mutable_gpu_data  # noqa: B018 (the device has the newest from now on)
    for blob in run.top:
        runtime.runtime().zero(blob.new_gpu_diff)
    uploads, downloads = gpu.uploads, gpu.downloads
    run.forward()
    if run.layer.allow_force_backward(0) and bottoms:
        wanted = [run.layer.allow_force_backward(i) for i in range(len(bottoms))]
        run.layer.backward(run.top, wanted, run.bottom)
    read = READ_ON_HOST.get(layer_type, 0)
    assert gpu.downloads - downloads == read
    assert read or gpu.uploads == uploads
