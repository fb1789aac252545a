"""Let code that says ``import caffe`` find this package."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import types
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec

# What scripts that ask `caffe.__version__` want to know: whose interface this is.
CAFFE_VERSION = "1.0.0"

_SUBMODULES = (
    "proto",
    "proto.caffe_pb2",
    "_caffe",
    "pycaffe",
    "io",
    "net_spec",
    "coord_map",
    "classifier",
    "detector",
    "draw",
)


def as_caffe() -> None:
    """Put the package and its submodules in the place of ``caffe``, for this process.

    ``caffe`` has the names of ``caffe_spn``, and what is set in one is set in the other; only
    ``caffe.__version__`` is that of the Caffe whose interface this is.
    """
    _register()
    for name in _SUBMODULES:
        importlib.import_module(f"caffe.{name}")


@contextlib.contextmanager
def caffe_importable():
    """While it lasts, ``import caffe`` gives this package.

    The name is left registered where no other package has it, so that an import inside a
    function of a Python layer works later on; a real Caffe gets its name back.
    """
    before = {name: sys.modules[name] for name in _registered()}
    if "caffe" in before:
        foreign = not isinstance(before["caffe"], _Caffe)
    else:
        foreign = importlib.util.find_spec("caffe") is not None
    _register()
    try:
        yield
    finally:
        if foreign:
            sys.meta_path.remove(_FINDER)
            for name in _registered():
                del sys.modules[name]
            sys.modules.update(before)


def _register() -> None:
    if not isinstance(sys.modules.get("caffe"), _Caffe):
        for name in _registered():
            del sys.modules[name]
        sys.modules["caffe"] = _Caffe(importlib.import_module("caffe_spn"))
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)


def _registered() -> list[str]:
    return [name for name in sys.modules if name == "caffe" or name.startswith("caffe.")]


class _Caffe(types.ModuleType):
    """The package under its other name."""

    def __init__(self, package: types.ModuleType):
        super().__init__(package.__name__, package.__doc__)
        vars(self).update(
            __spec__=package.__spec__, __version__=CAFFE_VERSION, _caffe_spn_package=package
        )

    def __getattr__(self, name: str):
        return getattr(vars(self)["_caffe_spn_package"], name)

    def __setattr__(self, name: str, value) -> None:
        setattr(self._caffe_spn_package, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._caffe_spn_package, name)

    def __dir__(self):
        return dir(self._caffe_spn_package)


class _Finder(MetaPathFinder):
    """Finds ``caffe.X`` in ``caffe_spn.X``."""

    def find_spec(self, fullname, path=None, target=None):
        if not fullname.startswith("caffe."):
            return None
        name = f"caffe_spn.{fullname.removeprefix('caffe.')}"
        if importlib.util.find_spec(name) is None:
            return None
        return ModuleSpec(fullname, _SameModule(name))


class _SameModule(Loader):
    """Gives the module that has another name already, so that it is not loaded twice."""

    def __init__(self, name: str):
        self._name = name

    def create_module(self, spec):
        module = importlib.import_module(self._name)
        self._spec = module.__spec__
        return module

    def exec_module(self, module) -> None:
        # The import system has just overwritten it with that of the new name.
        module.__spec__ = self._spec


_FINDER = _Finder()
