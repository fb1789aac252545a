"""pycaffe's module `caffe.pycaffe`: where scripts find Net and the solvers.

The methods that pycaffe adds to Net there are in `caffe_spn.pycaffe_net`.
"""

from caffe_spn import io
from caffe_spn.nccl import NCCL
from caffe_spn.net import Net
from caffe_spn.solver import (
    AdaDeltaSolver,
    AdaGradSolver,
    AdamSolver,
    NesterovSolver,
    RMSPropSolver,
    SGDSolver,
)
from caffe_spn.timer import Timer

__all__ = [
    "NCCL",
    "AdaDeltaSolver",
    "AdaGradSolver",
    "AdamSolver",
    "NesterovSolver",
    "Net",
    "RMSPropSolver",
    "SGDSolver",
    "Timer",
    "io",
]
