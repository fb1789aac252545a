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
    There may be any number of bottoms and tops; the class checks them in `setup` and `reshape`.

    Parameters
    ----------
    module : str
        The Python module, found as ``import`` finds it.
    layer : str
        The class in it: a subclass of `caffe.Layer` with setup, reshape, forward and backward.
    param_str : str, default ""
        The layer finds it in `self.param_str`; it is not evaluated.
    share_in_parallel : accepted and ignored
        A training runs in one process.

    Raises
    ------
    PrototxtError
        If the module or the class is missing, or the class is no Layer; or if the net was built
        with ``allow_python=False``, because a Python layer is code that a definition names.

    Examples
    --------
    ::

        layer {
          name: "twice" type: "Python" bottom: "x" top: "y"
          python_param { module: "my_layers" layer: "Times" param_str: "2" }
        }

    With ``my_layers.py`` beside the script::

        import caffe


        class Times(caffe.Layer):
            def setup(self, bottom, top):
                self.factor = float(self.param_str)

            def reshape(self, bottom, top):
                top[0].reshape(*bottom[0].shape)

            def forward(self, bottom, top):
                top[0].data[...] = self.factor * bottom[0].data

            def backward(self, top, propagate_down, bottom):
                bottom[0].diff[...] = self.factor * top[0].diff
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
    # A constructor of the class's own is given the definition, as by pycaffe, and may or may not
    # have called ours.
    layer = cls(layer_param)
    Layer.__init__(layer, layer_param, phase=phase, **({} if dtype is None else {"dtype": dtype}))
    return layer
