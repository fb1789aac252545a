"""Make a Caffe fork's messages and layers known, without touching the package.

>>> import caffe_spn
>>> caffe_spn.extend("deeplab.proto", "interp.py")  # doctest: +SKIP

docs/dialects.md tells how to write the two files.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys

from caffe_spn.alias import caffe_importable
from caffe_spn.errors import CaffeSpnError
from caffe_spn.proto.extension import extend_schema


def extend(*sources: str | os.PathLike) -> None:
    """Add messages, fields and layers of a fork for the rest of this process.

    Call it before networks are read: messages that are there already keep their old classes.

    Parameters
    ----------
    *sources : str or path
        In any order:

        - ``fork.proto``: messages and fields, see `caffe_spn.proto.extension`;
        - ``layers.py`` or ``package.layers``: Python code, a file or a module, whose layer classes
          have the decorator `caffe_spn.register`. ``import caffe`` in it gives this package.

    Raises
    ------
    PrototxtError
        With file and line, if a name or number in a .proto file, or a layer type, is taken.
    CaffeSpnError
        If there is no such file or module.

    Notes
    -----
    ``caffe-spn --extend fork.proto --extend layers.py COMMAND ...`` does the same for a command,
    and so does the environment variable ``CAFFE_SPN_EXTEND``, with ``:`` (Windows: ``;``) between
    the names.
    """
    names = [os.fspath(source) for source in sources]
    # Code may make messages when it is imported: the schema first.
    for name in names:
        if name.endswith(".proto"):
            extend_schema(name)
    for name in names:
        if name.endswith(".py"):
            _import_file(name)
        elif not name.endswith(".proto"):
            _import_module(name)


def _import_module(name: str) -> None:
    try:
        with caffe_importable():
            importlib.import_module(name)
    except ModuleNotFoundError as error:
        # One that the module itself lacks is its own affair.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise CaffeSpnError(
            f"there is no Python module '{name}'",
            help="name a .proto or .py file, or a module that `import` finds",
        ) from None


def _import_file(path: str) -> None:
    full = os.path.abspath(path)
    if not os.path.isfile(full):
        raise CaffeSpnError("there is no such file", where=path)
    name = os.path.splitext(os.path.basename(full))[0]
    there = sys.modules.get(name)
    if there is not None and os.path.abspath(getattr(there, "__file__", None) or "") == full:
        return
    if there is not None:
        raise CaffeSpnError(
            f"its module would be called '{name}', as one that is loaded already",
            where=path,
            help="rename the file",
        )
    # Like a script, it finds what lies beside it.
    folder = os.path.dirname(full)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(name, full)
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    try:
        with caffe_importable():
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
