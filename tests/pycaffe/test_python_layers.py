"""Python layers as scripts write them: parameters, phase, param_str, exceptions, __init__."""

import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn.gradient_check import check_gradients

LAYERS = '''
import numpy as np
import caffe


class Tenfold(caffe.Layer):
    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom, top):
        top[0].data[...] = 10 * bottom[0].data

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = 10 * top[0].diff


class Raises(Tenfold):
    def setup(self, bottom, top):
        raise KeyError("of the layer's own")


class Times(Tenfold):
    def setup(self, bottom, top):
        try:
            self.factor = float(self.param_str)
        except ValueError:
            raise ValueError("Parameter string must be a legible float")

    def forward(self, bottom, top):
        top[0].data[...] = self.factor * bottom[0].data


class Weighted(Tenfold):
    def setup(self, bottom, top):
        self.blobs.add_blob(1)
        self.blobs[0].data[0] = 0

    def forward(self, bottom, top):
        pass

    def backward(self, top, propagate_down, bottom):
        self.blobs[0].diff[0] = 1


class Phase(caffe.Layer):
    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        top[0].reshape()

    def forward(self, bottom, top):
        top[0].data[()] = self.phase


class Square(Tenfold):
    """y = w x^2, in the type of the blobs."""

    def setup(self, bottom, top):
        self.blobs.add_blob(bottom[0].data.shape[1])
        self.blobs[0].data[...] = 2

    def forward(self, bottom, top):
        top[0].data[...] = self.blobs[0].data * bottom[0].data ** 2

    def backward(self, top, propagate_down, bottom):
        x, w = bottom[0].data, self.blobs[0]
        bottom[0].diff[...] = 2 * w.data * x * top[0].diff
        w.diff[...] += (x ** 2 * top[0].diff).sum(0)


class Generated(Tenfold):
    def __init__(self, p_object, *args, **kwargs):
        super(Generated, self).__init__(p_object, *args, **kwargs)
        self.name_at_birth = self.layer_param.name
'''


@pytest.fixture
def definition(lab):
    """Makes a net of one Python layer over a 10 x 9 x 8 input."""
    module = f"layers_of_{lab.folder.name}".replace("-", "_")
    lab.write(LAYERS, f"{module}.py")
    lab.monkeypatch.syspath_prepend(str(lab.folder))

    def make(layer, param_str="", count=1, bottom=True):
        text = "name: 'pythonnet' force_backward: true\n"
        if bottom:
            text += "input: 'data' input_shape { dim: 10 dim: 9 dim: 8 }\n"
        below = "data"
        for name in ("one", "two", "three")[:count]:
            text += f"layer {{ type: 'Python' name: '{name}' top: '{name}'"
            text += f" bottom: '{below}'" if bottom else ""
            text += f" python_param {{ module: '{module}' layer: '{layer}'"
            text += f" param_str: '{param_str}' }} }}\n"
            below = name
        return lab.write(text)

    make.module = module
    return make


def test_a_chain_forward_backward_and_reshaped(definition):
    net = caffe.Net(definition("Tenfold", count=3), caffe.TRAIN)
    net.blobs["data"].data[...] = 8
    net.forward()
    assert (net.blobs["three"].data == 8000).all()
    net.blobs["three"].diff[...] = 7
    net.backward()
    assert (net.blobs["data"].diff == 7000).all()
    net.blobs["data"].reshape(4, 4, 4, 4)
    net.forward()
    assert all(blob.data.shape == (4, 4, 4, 4) for blob in net.blobs.values())


def test_an_exception_keeps_its_type(definition):
    with pytest.raises(KeyError, match="of the layer's own"):
        caffe.Net(definition("Raises"), caffe.TEST)


def test_param_str(definition):
    net = caffe.Net(definition("Times", "2.5"), caffe.TRAIN)
    assert (net.forward(data=np.ones((10, 9, 8)))["one"] == 2.5).all()
    with pytest.raises(ValueError, match="must be a legible float"):
        caffe.Net(definition("Times", "two"), caffe.TRAIN)


def test_parameters_are_trained_saved_and_shared(definition):
    path = definition("Weighted")
    net = caffe.Net(path, caffe.TRAIN)
    net.forward()
    net.backward()
    layer = net.layers[list(net._layer_names).index("one")]
    assert layer.blobs[0].data[0] == 0 and layer.blobs[0].diff[0] == 1
    layer.blobs[0].data[0] += layer.blobs[0].diff[0]
    net.save("weights")
    layer.blobs[0].data[0] = -1
    net.copy_from("weights")
    assert layer.blobs[0].data[0] == 1
    other = caffe.Net(path, caffe.TRAIN)
    other.share_with(net)
    layer.blobs[0].data[0] = 5
    assert other.params["one"][0].data[0] == 5


@pytest.mark.parametrize("phase", [caffe.TRAIN, caffe.TEST])
def test_phase_in_a_layer_without_bottoms(definition, phase):
    net = caffe.Net(definition("Phase", bottom=False), phase)
    assert net.forward()["one"] == phase


def test_gradients_of_a_layer_of_ones_own(definition):
    module = definition.module
    check_gradients(
        f'type: "Python" python_param {{ module: "{module}" layer: "Square" }}', [(2, 3)]
    )


def test_an_init_of_its_own_is_called_as_pycaffe_calls_it(definition):
    net = caffe.Net(definition("Generated"), caffe.TEST)
    assert net.layers[1].name_at_birth == "one" and net.layers[1].phase == caffe.TEST
