"""caffe_spn: Spatial Propagation Networks and Caffe's layers, nets and solvers in Python.

``import caffe_spn as caffe`` works for code that was written for pycaffe.
"""

import importlib

from caffe_spn import proto
from caffe_spn.alias import as_caffe
from caffe_spn.blob import Blob
from caffe_spn.device import set_device, set_mode_cpu, set_mode_gpu
from caffe_spn.errors import (
    CaffeSpnError,
    DataError,
    DeviceError,
    PrototxtError,
    ShapeError,
    TrainingError,
    WeightsError,
)
from caffe_spn.layer import Layer, layer_type_list, register
from caffe_spn.net import TEST, TRAIN, Net
from caffe_spn.random import set_random_seed
from caffe_spn.version import __version__

# Loaded at first use, so that `import caffe_spn` stays quick.
_LAZY = {
    "io": ("caffe_spn.io", None),
    "layers": ("caffe_spn.layers", None),
    "net_spec": ("caffe_spn.net_spec", None),
    "NetSpec": ("caffe_spn.net_spec", "NetSpec"),
    "params": ("caffe_spn.net_spec", "params"),
    "to_proto": ("caffe_spn.net_spec", "to_proto"),
    "classifier": ("caffe_spn.classifier", None),
    "Classifier": ("caffe_spn.classifier", "Classifier"),
    "detector": ("caffe_spn.detector", None),
    "Detector": ("caffe_spn.detector", "Detector"),
    "draw": ("caffe_spn.draw", None),
    "check_gradients": ("caffe_spn.gradient_check", "check_gradients"),
    "Solver": ("caffe_spn.solver", "Solver"),
    "SGDSolver": ("caffe_spn.solver", "SGDSolver"),
    "NesterovSolver": ("caffe_spn.solver", "NesterovSolver"),
    "AdaGradSolver": ("caffe_spn.solver", "AdaGradSolver"),
    "RMSPropSolver": ("caffe_spn.solver", "RMSPropSolver"),
    "AdaDeltaSolver": ("caffe_spn.solver", "AdaDeltaSolver"),
    "AdamSolver": ("caffe_spn.solver", "AdamSolver"),
    "get_solver": ("caffe_spn.solver", "get_solver"),
    "coord_map": ("caffe_spn.coord_map", None),
    "pycaffe": ("caffe_spn.pycaffe", None),
    "Timer": ("caffe_spn.timer", "Timer"),
    "set_cuda_graphs": ("caffe_spn.cuda.device.graphs", "set_cuda_graphs"),
    "set_tf32": ("caffe_spn.cuda.nvidia.libraries", "set_tf32"),
    **{
        name: ("caffe_spn.nccl", name)
        for name in (
            *("NCCL", "has_nccl", "set_multiprocess", "set_solver_count", "set_solver_rank"),
            *("solver_count", "solver_rank"),
        )
    },
    **{
        name: ("caffe_spn.vectors", name)
        for name in (
            *("BlobVec", "BoolVec", "DtypeVec", "IntVec", "LayerVec", "NetVec", "RawBlobVec"),
            "StringVec",
        )
    },
    "extend": ("caffe_spn.extension", "extend"),
    "init_log": ("caffe_spn.training_log", "init_log"),
    "log": ("caffe_spn.training_log", "log"),
}


def __getattr__(name: str):
    if name not in _LAZY:
        raise AttributeError(f"module 'caffe_spn' has no attribute '{name}'")
    module, attribute = _LAZY[name]
    value = importlib.import_module(module)
    if attribute is not None:
        value = getattr(value, attribute)
    globals()[name] = value
    return value


def __dir__():
    return sorted([*globals(), *_LAZY])


__all__ = [
    "TEST",
    "TRAIN",
    "Blob",
    "CaffeSpnError",
    "DataError",
    "DeviceError",
    "Layer",
    "Net",
    "PrototxtError",
    "ShapeError",
    "TrainingError",
    "WeightsError",
    "__version__",
    "as_caffe",
    "layer_type_list",
    "proto",
    "register",
    "set_device",
    "set_mode_cpu",
    "set_mode_gpu",
    "set_random_seed",
    *_LAZY,
]
