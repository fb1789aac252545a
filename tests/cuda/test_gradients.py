"""The GPU's gradients against differences of the CPU's forward pass in float64."""

import pytest

from caffe_spn.gradient_check import check_gradients
from tests.cuda.test_every_layer import LAYERS

LEFT_OUT = {
    "Accuracy": "no gradient",
    "ArgMax": "no gradient",
    "DummyData": "no bottom",
    "Dropout": "random, and another on the GPU",
    "Input": "no bottom",
    "Parameter": "no bottom",
    "Silence": "no gradient",
    "Threshold": "no gradient",
}


@pytest.mark.parametrize("layer_type", sorted(LAYERS.keys() - LEFT_OUT.keys()))
def test_gradients(gpu, layer_type):
    parameters, *bottoms = LAYERS[layer_type]
    tops = bottoms.pop() if bottoms and isinstance(bottoms[-1], int) else 1
    text = f'type: "{layer_type}" {parameters}'
    launches = gpu.launches
    check_gradients(text, bottoms, tops=tops, samples=25, on_gpu=True, step=1e-5)
    assert gpu.launches > launches or layer_type in ("Flatten", "Reshape", "Split")


def test_a_wrong_gradient_is_found(gpu, monkeypatch):
    from caffe_spn.cuda import pointwise

    right = pointwise.backward
    monkeypatch.setattr(
        pointwise, "backward", lambda formula, x, y, *rest: right(formula, y, y, *rest)
    )
    with pytest.raises(AssertionError, match="bottom 0, index"):
        check_gradients('type: "Swish"', [(2, 3)], on_gpu=True)


def test_a_layer_is_refused():
    from caffe_spn.gradient_check import _make_layer

    with pytest.raises(TypeError, match="takes a definition"):
        check_gradients(_make_layer('type: "AbsVal"', 1, 1, 0), [(2, 3)], on_gpu=True)
