"""float32 matrix products in strips, one single-threaded `sgemm` for each."""

from __future__ import annotations

import math

from numba import get_num_threads, prange

from caffe_spn.cpu.blas import sgemm, sgemm_address, single_threaded
from caffe_spn.cpu.jit import jit

FLOAT = 4  # bytes
# A strip narrower than this keeps sgemm from working at full speed.
NARROWEST = 16


@jit(parallel=True)
def _strips(gemm, a, b, out, transpose_a, transpose_b, beta, by_rows, width, strips):
    m, n = out.shape
    k = a.shape[0] if transpose_a else a.shape[1]
    a_step, b_step = a.shape[1], b.shape[1]
    for strip in prange(strips):
        start = int(strip) * width
        if by_rows:
            skip = start if transpose_a else start * a_step
            sgemm(
                gemm, transpose_a, transpose_b, min(width, m - start), n, k,
                a.ctypes.data + FLOAT * skip, a_step, b.ctypes.data, b_step,
                beta, out.ctypes.data + FLOAT * start * n, n,
            )  # fmt: skip
        else:
            skip = start * b_step if transpose_b else start
            sgemm(
                gemm, transpose_a, transpose_b, m, min(width, n - start), k,
                a.ctypes.data, a_step, b.ctypes.data + FLOAT * skip, b_step,
                beta, out.ctypes.data + FLOAT * start, n,
            )  # fmt: skip


def product(a, b, out, transpose_a: bool, transpose_b: bool, add: bool) -> None:
    """out = op(a) op(b) (+ out), cut along the longer side of `out`."""
    m, n = out.shape
    by_rows = m >= n
    length = max(m, n)
    strips = max(1, min(get_num_threads(), length // NARROWEST))
    width = math.ceil(length / strips)
    strips = math.ceil(length / width)
    with single_threaded():
        _strips(
            sgemm_address(), a, b, out, transpose_a, transpose_b, 1.0 if add else 0.0,
            by_rows, width, strips,
        )  # fmt: skip
