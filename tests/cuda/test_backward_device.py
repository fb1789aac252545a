"""A backward pass runs where the forward pass ran, whatever the mode is by then."""

import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn.cuda import runtime
from caffe_spn.errors import DeviceError
from tests.cuda.emulation.driver import EmulatedDriver
from tests.layers.running import Run, normal

# Layers that keep something in forward; what it is lies on one of the two devices only.
X, LABELS = normal(3, 4, 5, 6), np.random.default_rng(1).integers(0, 4, (3, 5, 6))
LAYERS = {
    "pooling": ('type: "Pooling" pooling_param { kernel_size: 3 stride: 2 }', X),
    "batch_norm": ('type: "BatchNorm"', X),
    "lrn": ('type: "LRN"', X),
    "mvn": ('type: "MVN"', X),
    "softmax_loss": ('type: "SoftmaxWithLoss"', X, LABELS),
    "sigmoid_loss": ('type: "SigmoidCrossEntropyLoss"', X, normal(*X.shape)),
    "euclidean_loss": ('type: "EuclideanLoss"', X, normal(*X.shape, seed=2)),
    "hinge_loss": ('type: "HingeLoss"', X, [3, 70, 4]),
}
MODES = {"cpu": caffe.set_mode_cpu, "gpu": caffe.set_mode_gpu}


def diff(definition, *bottoms, forward, backward, other_first=False):
    """The first bottom's diff, from passes in these modes."""
    if other_first:
        # What a pass in the other mode has left must not be taken for this one's.
        MODES[backward]()
        run = Run(definition, *bottoms)
        run.bottom[0].data[...] *= 2
        run.forward()
        run.bottom[0].data[...] /= 2
        MODES[forward]()
        run.forward()
    else:
        MODES[forward]()
        run = Run(definition, *bottoms)
    MODES[backward]()
    return run.backward(normal(*run.out.shape))[0].copy()


@pytest.mark.parametrize("other_first", [False, True])
@pytest.mark.parametrize("forward, backward", [("cpu", "gpu"), ("gpu", "cpu")])
@pytest.mark.parametrize("name", LAYERS)
def test_another_mode_in_between(gpu, name, forward, backward, other_first):
    got = diff(*LAYERS[name], forward=forward, backward=backward, other_first=other_first)
    want = diff(*LAYERS[name], forward=forward, backward=forward)
    np.testing.assert_array_equal(got, want)


@pytest.mark.usefixtures("emulated_only", "gpu")
def test_a_device_that_was_closed_in_between():
    before = runtime.install(EmulatedDriver())
    caffe.set_mode_gpu()
    run = Run(*LAYERS["pooling"])
    caffe.set_mode_cpu()
    runtime.restore(None)
    try:
        with pytest.raises(DeviceError, match="no GPU is open"):
            run.backward(normal(*run.out.shape))
        run.forward()
        assert np.isfinite(run.backward(normal(*run.out.shape))[0]).all()
    finally:
        runtime.restore(before)
