"""`import caffe` gives this package: names, submodules, and a real Caffe left alone."""

import importlib
import subprocess
import sys
import textwrap
import types
from unittest import mock

import pytest

import caffe_spn
from caffe_spn.alias import as_caffe, caffe_importable


@pytest.fixture
def process():
    """What is imported as `caffe`, and the finders, are put back after the test."""
    modules = {k: v for k, v in sys.modules.items() if k.split(".")[0] == "caffe"}
    finders = list(sys.meta_path)
    for name in modules:
        del sys.modules[name]
    yield
    for name in [k for k in sys.modules if k.split(".")[0] == "caffe"]:
        del sys.modules[name]
    sys.modules.update(modules)
    sys.meta_path[:] = finders


@pytest.fixture
def caffe(process):
    as_caffe()
    return importlib.import_module("caffe")


def test_names_are_those_of_the_package(caffe):
    assert caffe.Net is caffe_spn.Net and caffe.__name__ == "caffe_spn"
    assert set(dir(caffe_spn)) == set(dir(caffe))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        caffe.nothing  # noqa: B018


def test_the_version_is_caffes(caffe):
    assert caffe.__version__ == "1.0.0" == importlib.import_module("caffe._caffe").__version__
    assert caffe_spn.__version__ != "1.0.0"


def test_what_is_set_in_one_is_set_in_both(caffe):
    with mock.patch("caffe.set_mode_gpu") as patched:
        caffe_spn.set_mode_gpu()
        patched.assert_called_once_with()
    assert caffe.set_mode_gpu is caffe_spn.device.set_mode_gpu


def test_submodules_are_registered_and_not_loaded_twice(caffe):
    for name in ("pycaffe", "io", "net_spec", "coord_map", "classifier", "detector", "draw"):
        assert sys.modules[f"caffe.{name}"] is sys.modules[f"caffe_spn.{name}"]
    # Those that nobody thought of are found too.
    late = importlib.import_module("caffe.graph.fuse")
    assert late is importlib.import_module("caffe_spn.graph.fuse")
    assert late.__spec__.name == "caffe_spn.graph.fuse"
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'caffe\.nothing'"):
        importlib.import_module("caffe.nothing")


def test_calling_it_again_changes_nothing(caffe):
    before = list(sys.meta_path)
    as_caffe()
    assert importlib.import_module("caffe") is caffe and sys.meta_path == before


def test_a_real_caffe_gets_its_name_back(process):
    real, real_io = types.ModuleType("caffe"), types.ModuleType("caffe.io")
    sys.modules.update({"caffe": real, "caffe.io": real_io})
    with caffe_importable():
        assert importlib.import_module("caffe").Net is caffe_spn.Net
        assert importlib.import_module("caffe.io") is caffe_spn.io
    assert sys.modules["caffe"] is real and sys.modules["caffe.io"] is real_io
    assert "caffe.net_spec" not in sys.modules


def test_a_script_imports_caffe_in_every_way(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
            import caffe
            import caffe.draw, caffe.proto.caffe_pb2 as pb
            from caffe import layers as L, params as P
            from caffe.coord_map import crop
            from caffe.net_spec import NetSpec
            from caffe.pycaffe import Net
            from caffe.proto import caffe_pb2
            from caffe._caffe import BlobVec

            assert pb is caffe_pb2 and Net is caffe.Net
            net = NetSpec()
            net.x = L.Input(shape=dict(dim=[1, 1, 4, 4]))
            net.y = L.Pooling(net.x, kernel_size=2, pool=P.Pooling.MAX)
            print(caffe.Net(net.to_proto(), caffe.TEST).blobs["y"].data.shape, caffe.__version__)
        """)
    )
    command = [sys.executable, "-m", "caffe_spn.tools.main", "run", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("(1, 1, 3, 3) 1.0.0\n", "")
