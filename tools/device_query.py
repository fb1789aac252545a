"""caffe-spn device_query: say what the package computes on."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence

from caffe_spn.tools import arguments


def parser() -> arguments.Parser:
    parser = arguments.Parser(
        "device_query",
        """
        Say what this version computes on: the CPU, with how many threads. It has no GPU path;
        asking for a GPU is an error.
        """,
        "caffe-spn device_query",
    )
    arguments.add_gpu(parser)
    return parser


def main(argv: Sequence[str]) -> int:
    arguments.parse(parser(), argv)
    print(f"CPU: {platform.processor() or platform.machine()}, {os.cpu_count()} logical cores")
    try:
        import numba
    except ImportError:
        print("numba: not installed; everything runs on the slower NumPy paths")
    else:
        print(f"numba {numba.__version__}: {numba.config.NUMBA_NUM_THREADS} threads")
    print("GPU: this version of caffe_spn has no GPU path; every network runs on the CPU")
    return 0
