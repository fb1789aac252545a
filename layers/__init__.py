"""The layers. Importing this package registers all of them with `caffe_spn.layer`.

As in pycaffe, ``caffe_spn.layers.TYPE(...)`` makes a layer for a `caffe_spn.net_spec.NetSpec`; the
classes themselves are in the modules of this package.
"""

import importlib
import pkgutil

from caffe_spn.layer import layer_type_list

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")


def __getattr__(name: str):
    # Types begin with a capital, modules do not; pycaffe too takes types that it does not know. A
    # type of a user's own may begin otherwise.
    if not name[0].isupper() and name not in layer_type_list():
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from caffe_spn.net_spec import layers

    return getattr(layers, name)
