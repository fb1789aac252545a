"""Products of matrices, shared out to the threads that the other kernels use.

NumPy's own product would start the threads of another pool, which then get in the way of ours.
"""

from __future__ import annotations

import functools

import numpy as np

from caffe_spn import cpu


def matmul(a, b, out, transpose_a: bool = False, transpose_b: bool = False, add: bool = False):
    """out = op(a) op(b), or out += it with `add`.

    Parameters
    ----------
    a, b, out : 2-D arrays of one type
        `op` transposes where asked to.
    """
    arrays = (a, b, out)
    depth = a.shape[0] if transpose_a else a.shape[1]
    float32 = all(x.dtype == np.float32 and x.flags.c_contiguous for x in arrays)
    if float32 and out.size and depth and cpu.compiled():
        product = _compiled_product()
        if product is not None:
            with cpu.parallel_section():
                product(a, b, out, transpose_a, transpose_b, add)
            return
    result = (a.T if transpose_a else a) @ (b.T if transpose_b else b)
    if add:
        out += result
    else:
        out[...] = result


@functools.cache
def _compiled_product():
    from caffe_spn.cpu import blas

    if not blas.sgemm_address():
        return None
    from caffe_spn.cpu.matmul_compiled import product

    return product
