"""The layers. Importing this package registers all of them with `caffe_spn.layer`."""

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
