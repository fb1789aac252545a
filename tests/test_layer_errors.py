"""A Python layer that raises: its own exception and stack trace, with layer and method."""

import subprocess
import sys
import traceback

import pytest

import caffe_spn as caffe
from caffe_spn.errors import PrototxtError, ShapeError
from tests.tools.cli import command

LAYERS = """
import caffe

class Mine(caffe.Layer):
    def fail(self, method):
        if self.param_str == method:
            {}["there is no such key"]

    def setup(self, bottom, top):
        self.count = 0
        self.fail("setup")

    def reshape(self, bottom, top):
        self.count += 1
        self.fail("reshape" if self.count == 1 else "later reshape")
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        self.fail("forward")

    def backward(self, top, propagate_down, bottom):
        self.fail("backward")
"""
NET = """
force_backward: true
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 } } }
layer { name: "mine" type: "Python" bottom: "x" top: "y"
        python_param { module: "layers_that_fail" layer: "Mine" param_str: "METHOD" } }
layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "x" top: "loss" }
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "layers_that_fail.py").write_text(LAYERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("layers_that_fail", None)


@pytest.mark.parametrize("method", ["setup", "reshape", "later reshape", "forward", "backward"])
def test_exception_keeps_its_type_and_trace(method, folder):
    (folder / "net.prototxt").write_text(NET.replace("METHOD", method))
    with pytest.raises(KeyError) as caught:
        net = caffe.Net("net.prototxt", caffe.TRAIN)
        net.forward()
        net.backward()
    called = method.split()[-1]
    note = f"in {called} of layer 'mine' (Python: layers_that_fail.Mine), net.prototxt:4"
    assert caught.value.raised_in_layer == note
    shown = "".join(traceback.format_exception(caught.value))
    assert '{}["there is no such key"]' in shown
    if sys.version_info >= (3, 11):
        assert shown.endswith(f"KeyError: 'there is no such key'\n{note}\n")


def test_reshape_of_the_net_says_it_too(folder):
    (folder / "net.prototxt").write_text(NET.replace("METHOD", "later reshape"))
    net = caffe.Net("net.prototxt", caffe.TRAIN)
    with pytest.raises(KeyError) as caught:
        net.reshape()
    assert caught.value.raised_in_layer.startswith("in reshape of layer 'mine'")


def test_wrong_signature(folder):
    (folder / "net.prototxt").write_text(NET.replace("METHOD", ""))
    source = LAYERS.replace("def forward(self, bottom, top)", "def forward(self)")
    (folder / "layers_that_fail.py").write_text(source)
    with pytest.raises(TypeError) as caught:
        caffe.Net("net.prototxt", caffe.TEST).forward()
    assert caught.value.raised_in_layer.startswith("in a call of layer 'mine'")


def test_errors_of_the_package_are_placed_as_ever(folder):
    (folder / "net.prototxt").write_text(NET.replace("METHOD", ""))
    source = LAYERS.replace(
        'self.fail("forward")', 'raise self.shape_error("too small", help="make it larger")'
    )
    (folder / "layers_that_fail.py").write_text(source)
    with pytest.raises(ShapeError) as caught:
        caffe.Net("net.prototxt", caffe.TEST).forward()
    assert str(caught.value) == (
        "net.prototxt:4: layer 'mine' (Python)\n  too small\n  help: make it larger"
    )


def test_a_command_shows_the_layers_own_trace(folder):
    (folder / "net.prototxt").write_text(NET.replace("METHOD", "forward"))
    words = command("time", "--model", "net.prototxt", "--iterations", "1")
    result = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300)
    assert result.returncode == 1
    shown = result.stderr[result.stderr.index("Traceback") :]
    assert shown.split("\n")[1].strip().startswith(f'File "{folder}/layers_that_fail.py"')
    assert "caffe_spn" not in shown
    assert shown.rstrip().endswith(
        "in forward of layer 'mine' (Python: layers_that_fail.Mine), net.prototxt:4"
    )
    refused = subprocess.run(
        [*words, "--no-python-layers"], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert refused.returncode == 1
    assert "Python layers are refused here" in refused.stderr


def test_python_layers_are_refused_before_their_module_is_imported(folder):
    (folder / "net.prototxt").write_text(NET.replace("METHOD", ""))
    with pytest.raises(PrototxtError, match="Python layers are refused here"):
        caffe.Net("net.prototxt", caffe.TEST, allow_python=False)
    assert "layers_that_fail" not in sys.modules
