"""Single-precision matrix products inside parallel Numba loops.

SciPy publishes the address of BLAS's `sgemm` (scipy.linalg.cython_blas). Numba kernels call that
address from within `prange`, one product for each thread, which needs neither a Python call nor a
lock. The BLAS must not start threads of its own meanwhile: two pools that wait for each other cost
10 to 30 times the work. `single_threaded` sees to it.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import glob
import os
from collections.abc import Callable, Iterator

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

# How OpenBLAS builds name their thread functions: SciPy's wheels, plain, 64-bit integers.
_THREAD_FUNCTIONS = (
    "scipy_openblas_{}_num_threads",
    "openblas_{}_num_threads",
    "scipy_openblas_{}_num_threads64_",
    "openblas_{}_num_threads64_",
)


@functools.cache
def sgemm_address() -> int:
    """The address of `sgemm`, or 0 where it cannot be used safely.

    It cannot when SciPy is missing, when its BLAS takes 64-bit integers, or when the number of
    its threads cannot be set; callers then take their NumPy path.
    """
    try:
        from scipy.linalg import cython_blas

        capsule = cython_blas.__pyx_capi__["sgemm"]
    except (ImportError, AttributeError, KeyError):
        return 0
    name_of = ctypes.pythonapi.PyCapsule_GetName
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
    name = name_of(capsule)
    if not name.startswith(b"void (char *, char *, int *, int *, int *,"):
        return 0
    if thread_functions() is None:
        return 0
    address_of = ctypes.pythonapi.PyCapsule_GetPointer
    address_of.restype, address_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return address_of(capsule, name)


@functools.cache
def thread_functions() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """How to get and set the number of threads of SciPy's BLAS, or None when unknown."""
    for path in _blas_libraries():
        try:
            library = ctypes.CDLL(path)
        except OSError:
            continue
        for pattern in _THREAD_FUNCTIONS:
            try:
                get = getattr(library, pattern.format("get"))
                set_ = getattr(library, pattern.format("set"))
            except AttributeError:
                continue
            get.restype, get.argtypes = ctypes.c_int, []
            set_.restype, set_.argtypes = None, [ctypes.c_int]
            return get, set_
    return None


def _blas_libraries() -> list[str]:
    """Where SciPy's OpenBLAS may be: bundled in its wheel, or else loaded from the system."""
    import scipy
    import scipy.linalg

    package = os.path.dirname(scipy.__file__)
    bundled = []
    for folder in (package + ".libs", os.path.join(package, ".dylibs")):
        bundled += sorted(glob.glob(os.path.join(folder, "*openblas*")))
    if bundled:
        return bundled
    try:
        with open("/proc/self/maps") as maps:
            loaded = {line.split()[-1] for line in maps if "openblas" in line}
    except OSError:
        return []
    # NumPy bundles a library of its own: setting that one's threads would change nothing here.
    return sorted(path for path in loaded if "numpy.libs" not in path)


@contextlib.contextmanager
def single_threaded() -> Iterator[None]:
    """Keep SciPy's BLAS to one thread, and give it back the number that it had."""
    get, set_ = thread_functions()
    threads = get()
    if threads == 1:
        yield
        return
    set_(1)
    try:
        yield
    finally:
        set_(threads)


@intrinsic
def _call_sgemm(typingctx, address, transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    """Call Fortran's sgemm at `address`; every argument goes by reference."""
    integer, real = types.intp, types.float32
    signature = types.void(
        integer, integer, integer, integer, integer, integer,
        real, integer, integer, integer, integer, real, integer, integer,
    )  # fmt: skip

    def generate(context, builder, signature, args):
        char, int32, float32 = ir.IntType(8), ir.IntType(32), ir.FloatType()

        def reference(value, kind):
            slot = cgutils.alloca_once(builder, kind)
            if isinstance(kind, ir.IntType):
                value = builder.trunc(value, kind)
            builder.store(value, slot)
            return slot

        def pointer(value):
            return builder.inttoptr(value, float32.as_pointer())

        address, transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc = args
        values = [
            reference(transa, char), reference(transb, char),
            reference(m, int32), reference(n, int32), reference(k, int32),
            reference(alpha, float32), pointer(a), reference(lda, int32),
            pointer(b), reference(ldb, int32),
            reference(beta, float32), pointer(c), reference(ldc, int32),
        ]  # fmt: skip
        function = ir.FunctionType(ir.VoidType(), [value.type for value in values])
        builder.call(builder.inttoptr(address, function.as_pointer()), values)
        return context.get_dummy_value()

    return signature, generate


_NO, _YES = ord("N"), ord("T")
_ONE = np.float32(1)


@njit(inline="always")
def sgemm(address, transpose_a, transpose_b, m, n, k, a, lda, b, ldb, beta, c, ldc):
    """C (m x n) = op(A) op(B) + beta C, for row-major matrices.

    `a`, `b` and `c` are byte addresses; `lda`, `ldb` and `ldc` the distances of their rows, in
    elements. Fortran stores columns, so the product is asked for transposed.
    """
    _call_sgemm(
        address,
        _YES if transpose_b else _NO,
        _YES if transpose_a else _NO,
        n, m, k,
        _ONE, b, ldb, a, lda,
        np.float32(beta), c, ldc,
    )  # fmt: skip
