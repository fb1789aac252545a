"""Let code that says ``import caffe`` find this package."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys

_SUBMODULES = ("proto", "proto.caffe_pb2", "pycaffe", "io", "net_spec")


def as_caffe() -> None:
    """Register the package and its submodules under the name ``caffe``, for this process."""
    package = importlib.import_module("caffe_spn")
    sys.modules["caffe"] = package
    for name in _SUBMODULES:
        sys.modules[f"caffe.{name}"] = importlib.import_module(f"caffe_spn.{name}")


@contextlib.contextmanager
def caffe_importable():
    """While it lasts, ``import caffe`` gives this package.

    The name is left registered where no other package has it, so that an import inside a
    function of a Python layer works later on; a real Caffe gets its name back.
    """
    before = {k: v for k, v in sys.modules.items() if k == "caffe" or k.startswith("caffe.")}
    package = sys.modules["caffe_spn"]
    foreign = before.get("caffe") not in (None, package) or (
        "caffe" not in before and importlib.util.find_spec("caffe") is not None
    )
    as_caffe()
    try:
        yield
    finally:
        if foreign:
            for name in [k for k in sys.modules if k == "caffe" or k.startswith("caffe.")]:
                del sys.modules[name]
            sys.modules.update(before)
