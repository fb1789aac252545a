"""caffe_spn.extend, and the example of docs/dialects.md."""

import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn.errors import CaffeSpnError, PrototxtError
from caffe_spn.gradient_check import check_gradients
from caffe_spn.proto import caffe_pb2
from caffe_spn.tools import main as cli
from tests.extensions import extensible
from tests.tools.cli import caffe_spn

__all__ = ["extensible"]

PAGE = (Path(__file__).parent.parent / "docs" / "dialects.md").read_text()
NET = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 5 } } }
layer { name: "interp" type: "Interp" bottom: "x" top: "y" interp_param { zoom_factor: 2 } }
"""


def block(after, language):
    """The code on the page that follows some words."""
    return re.search(rf"{re.escape(after)}.*?```{language}\n(.*?)```", PAGE, re.DOTALL)[1]


@pytest.fixture
def fork(extensible):
    """The two files of the page, and a network in the dialect."""
    (extensible / "deeplab.proto").write_text(block("`deeplab.proto`:", "proto"))
    (extensible / "interp.py").write_text(block("`interp.py`:", "python"))
    (extensible / "deeplab.prototxt").write_text(NET)
    return extensible


def interpolated(x, height, width):
    out = np.empty((*x.shape[:2], height, width))
    for i in range(height):
        for j in range(width):
            y = i * (x.shape[2] - 1) / (height - 1)
            z = j * (x.shape[3] - 1) / (width - 1)
            a, b = min(int(y), x.shape[2] - 2), min(int(z), x.shape[3] - 2)
            v, w = y - a, z - b
            out[:, :, i, j] = (1 - v) * ((1 - w) * x[:, :, a, b] + w * x[:, :, a, b + 1]) + v * (
                (1 - w) * x[:, :, a + 1, b] + w * x[:, :, a + 1, b + 1]
            )
    return out


def test_page_shows_the_error(extensible):
    (extensible / "deeplab.prototxt").write_text(
        'layer {\n  name: "i"\n  type: "Interp"\n  interp_param { zoom_factor: 2 }\n}\n'
    )
    with pytest.raises(PrototxtError) as caught:
        caffe.Net("deeplab.prototxt", caffe.TEST)
    assert f"```\n{caught.value}\n```" in PAGE


def test_example_runs(fork):
    caffe.extend("deeplab.proto", "interp.py")
    net = caffe.Net("deeplab.prototxt", caffe.TEST)
    net.blobs["x"].data[...] = x = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    net.forward()
    np.testing.assert_allclose(net.blobs["y"].data, interpolated(x, 7, 9), atol=1e-6)
    assert "Interp" in caffe.layer_type_list()


def test_example_has_the_right_gradient(fork):
    caffe.extend("deeplab.proto", "interp.py")
    definition = caffe_pb2.LayerParameter(name="i", type="Interp")
    definition.interp_param.height, definition.interp_param.width = 3, 7
    rng = np.random.default_rng(0)
    check_gradients(definition, [rng.normal(size=(1, 2, 4, 5))])


def test_netspec_and_weights_speak_the_dialect(fork):
    caffe.extend("deeplab.proto", "interp.py")
    from caffe_spn import layers as L

    spec = caffe.NetSpec()
    spec.x = L.Input(shape=dict(dim=[1, 1, 2, 2]))
    spec.y = L.Interp(spec.x, zoom_factor=3)
    proto = spec.to_proto()
    assert proto.layer[1].interp_param.zoom_factor == 3
    net = caffe.Net(proto, caffe.TEST)
    net.save("net.caffemodel")
    saved = caffe_pb2.NetParameter.FromString(Path("net.caffemodel").read_bytes())
    assert saved.layer[1].interp_param.zoom_factor == 3
    assert list(saved.layer[0].input_param.shape[0].dim) == [1, 1, 2, 2]
    net.copy_from("net.caffemodel")


def test_a_net_from_before_is_still_written(fork):
    (fork / "plain.prototxt").write_text(NET.split("\n")[1])
    net = caffe.Net("plain.prototxt", caffe.TEST)
    caffe.extend("deeplab.proto")
    net.save("net.caffemodel")
    assert isinstance(net.to_proto(), caffe_pb2.NetParameter)
    net.copy_from("net.caffemodel")


BOTH = ["--extend", "deeplab.proto", "--extend=interp.py"]


def test_a_command_speaks_the_dialect(fork):
    result = caffe_spn(fork, *BOTH, "check", "deeplab.prototxt")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Interp" in result.stdout


@pytest.mark.parametrize("how", ["behind", "environment", "nothing"])
def test_other_ways_to_say_it(how, fork, monkeypatch, capsys):
    words = ["check", "deeplab.prototxt"] + (BOTH if how == "behind" else [])
    if how == "environment":
        monkeypatch.setenv("CAFFE_SPN_EXTEND", os.pathsep.join(("deeplab.proto", "interp.py")))
    code = cli.main(words)
    shown = capsys.readouterr().out
    assert code == (1 if how == "nothing" else 0)
    assert ("belongs to the DeepLab and PSPNet forks" in shown) == (how == "nothing")


def test_scripts_that_are_run_speak_it_and_keep_their_own_options(fork):
    (fork / "script.py").write_text(
        "import sys, caffe\nprint(caffe.Net('deeplab.prototxt', caffe.TEST).blobs['y'].shape)\n"
        "print(sys.argv[1:])\n"
    )
    result = caffe_spn(fork, *BOTH, "run", "script.py", "--extend", "mine", "--debug")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "(2, 3, 7, 9)\n['--extend', 'mine', '--debug']\n"


@pytest.mark.parametrize(
    "words, error",
    [
        (["check", "deeplab.prototxt", "--extend"], "--extend needs a file"),
        (["--extend", "nothing.py", "check", "deeplab.prototxt"], "no such file"),
        (["--extend", "nothing", "check", "deeplab.prototxt"], "no Python module 'nothing'"),
        (["--extend", "nothing.proto", "check", "deeplab.prototxt"], "no such file"),
    ],
)
def test_wrong_usage(words, error, fork, capsys):
    assert cli.main(words) == 1
    assert error in capsys.readouterr().err


def test_modules_by_name_and_what_lies_beside_a_file(extensible, monkeypatch):
    (extensible / "helper_of_mine.py").write_text("TYPE = 'Mine'\n")
    (extensible / "layers_of_mine.py").write_text(
        "import caffe\nfrom helper_of_mine import TYPE\n\n"
        "@caffe.register(TYPE)\nclass Mine(caffe.Layer):\n    pass\n"
    )
    caffe.extend(extensible / "layers_of_mine.py")
    caffe.extend("layers_of_mine.py")
    assert "Mine" in caffe.layer_type_list()
    (extensible / "others").mkdir()
    (extensible / "others" / "layers_of_mine.py").write_text("")
    with pytest.raises(CaffeSpnError, match="would be called 'layers_of_mine'"):
        caffe.extend("others/layers_of_mine.py")
    (extensible / "module_of_mine.py").write_text("import nothing_that_exists\n")
    with pytest.raises(ModuleNotFoundError, match="nothing_that_exists"):
        caffe.extend("module_of_mine")
    (extensible / "broken_of_mine.py").write_text("1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        caffe.extend("broken_of_mine.py")
    assert "broken_of_mine" not in sys.modules


def test_a_layer_type_that_is_taken(extensible):
    (extensible / "mine.py").write_text(
        "import caffe\n\n@caffe.register('Pooling')\nclass Mine(caffe.Layer):\n    pass\n"
    )
    with pytest.raises(PrototxtError) as caught:
        caffe.extend("mine.py")
    assert caught.value.where == f"{extensible}/mine.py:3"
    assert "'Pooling' is taken by caffe_spn.layers.pooling.Pooling" in caught.value.message
    source = (extensible / "mine.py").read_text().replace("('Pooling'", "('Pooling', replace=True")
    (extensible / "better.py").write_text(source)
    caffe.extend("better.py")
    assert caffe.layer.layer_class("Pooling").__module__ == "better"
