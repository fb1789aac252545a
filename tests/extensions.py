"""The schema, the layers and Python's modules, put back after a test that extends them."""

import sys

import pytest

from caffe_spn import layer
from caffe_spn.proto import caffe_pb2


@pytest.fixture
def extensible(tmp_path, monkeypatch):
    """A folder for extensions, which is the current directory."""
    layer.layer_type_list()
    names, registry = dict(vars(caffe_pb2)), dict(layer._registry)
    modules, path = set(sys.modules), list(sys.path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in set(vars(caffe_pb2)) - set(names):
        delattr(caffe_pb2, name)
    vars(caffe_pb2).update(names)
    layer._registry.clear()
    layer._registry.update(registry)
    for name in set(sys.modules) - modules:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]
    sys.path[:] = path
