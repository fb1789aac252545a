"""Python: a layer whose class the definition names, as pycaffe loads it.

Source: `PythonLayer` of BVLC Caffe.
"""

import importlib

from caffe_spn.alias import caffe_importable
from caffe_spn.errors import PrototxtError
from caffe_spn.layer import Layer, register_factory


@register_factory("Python")
def python_layer(layer_param, phase=None, dtype=None) -> Layer:
    """An instance of the class that ``python_param { module layer }`` names.

    While the module is imported, ``import caffe`` in it gives this package.

    Raises
    ------
    PrototxtError
        If the module or the class is missing, or the class is no Layer.
    """
    names = layer_param.python_param
    where = f"layer '{layer_param.name}' (Python)"
    try:
        with caffe_importable():
            module = importlib.import_module(names.module)
    except (ImportError, ValueError) as error:
        raise PrototxtError(
            f"cannot import the module '{names.module}': {error}",
            where=where,
            help="its folder must be on PYTHONPATH, or be the current one",
        ) from error
    cls = getattr(module, names.layer, None)
    if not isinstance(cls, type) or not issubclass(cls, Layer):
        found = "has no such class" if cls is None else f"has '{names.layer}', which is {cls!r}"
        raise PrototxtError(
            f"needs the class '{names.layer}', but module '{names.module}' {found}",
            where=where,
            help="define 'class NAME(caffe.Layer)' with setup, reshape, forward and backward",
        )
    layer = cls.__new__(cls)
    # A user's __init__, if any, takes no arguments that we could know; pycaffe never calls it.
    Layer.__init__(layer, layer_param, phase=phase, **({} if dtype is None else {"dtype": dtype}))
    return layer
