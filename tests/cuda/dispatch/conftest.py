"""GPU mode, and layer types with and without a GPU path."""

import pytest

import caffe_spn
from caffe_spn import Layer, gpu_layer, layer, register
from tests.cuda.dispatch.nets import double


@pytest.fixture
def mode(gpu, monkeypatch):
    """GPU mode, with nothing said yet about layers without a GPU path."""
    monkeypatch.setattr(gpu_layer, "_said_on_host", set())
    caffe_spn.set_mode_gpu()
    return gpu


@pytest.fixture(autouse=True)
def types(monkeypatch):
    """Three layer types, that live as long as the test."""
    caffe_spn.layer_type_list()
    monkeypatch.setattr(layer, "_registry", dict(layer._registry))

    @register("OnHost")
    class OnHost(Layer):
        def reshape(self, bottom, top):
            top[0].reshape_like(bottom[0])

        def forward_cpu(self, bottom, top):
            top[0].data[...] = 2 * bottom[0].data

        def backward_cpu(self, top, propagate_down, bottom):
            bottom[0].diff[...] = 2 * top[0].diff

    @register("OnBoth")
    class OnBoth(OnHost):
        ran = ()

        def forward_gpu(self, bottom, top):
            self.ran = (*self.ran, "forward")
            double(bottom[0].gpu_data, top[0].new_gpu_data)

        def backward_gpu(self, top, propagate_down, bottom):
            self.ran = (*self.ran, "backward")
            double(top[0].gpu_diff, bottom[0].new_gpu_diff)

    @register("ForwardOnly")
    class ForwardOnly(OnHost):
        forward_gpu = OnBoth.forward_gpu
        ran = ()
