"""cuBLAS through ctypes: products of float32 matrices.

Matrices are as the library has them, in columns; `gemm` has the rows of NumPy's.

Source: the cuBLAS library's documentation, "cublas<t>gemm" and "cublas<t>gemmStridedBatched".
"""

from __future__ import annotations

import ctypes
import threading
from ctypes import POINTER, byref, c_float, c_int, c_longlong, c_size_t, c_void_p

from caffe_spn.cuda.nvidia import libraries
from caffe_spn.errors import DeviceError, ShapeError

_STATUS = {
    1: "NOT_INITIALIZED",
    3: "ALLOC_FAILED",
    7: "INVALID_VALUE",
    8: "ARCH_MISMATCH",
    11: "MAPPING_ERROR",
    13: "EXECUTION_FAILED",
    14: "INTERNAL_ERROR",
    15: "NOT_SUPPORTED",
    16: "LICENSE_ERROR",
}
_HELP = {
    "cublasCreate_v2": "the library may be newer than the driver: compare the CUDA version that"
    " nvidia-smi shows with the package's (nvidia-cublas-cu12 is for CUDA 12)",
    "ALLOC_FAILED": "use a smaller batch or image",
    "EXECUTION_FAILED": "go on from the last snapshot in a new process",
}

# The default mode computes in true float32: TF32 is used only where it is allowed.
_DEFAULT_MATH, _TF32_MATH = 0, 3
_MOST = 2**31 - 1

# What NVIDIA recommends for Hopper and newer, and for what is older.
_WORKSPACE, _WORKSPACE_BEFORE_HOPPER = 32 << 20, 4 << 20

_MATRIX = [c_void_p, c_int]
_STEPPED = [c_void_p, c_int, c_longlong]
_SIGNATURES = {
    "cublasCreate_v2": [POINTER(c_void_p)],
    "cublasDestroy_v2": [c_void_p],
    "cublasSetStream_v2": [c_void_p, c_void_p],
    "cublasSetWorkspace_v2": [c_void_p, c_void_p, c_size_t],
    "cublasSetMathMode": [c_void_p, c_int],
    "cublasSgemm_v2": [c_void_p, *[c_int] * 5, POINTER(c_float), *_MATRIX, *_MATRIX]
    + [POINTER(c_float), *_MATRIX],
    "cublasSgemmStridedBatched": [c_void_p, *[c_int] * 5, POINTER(c_float), *_STEPPED, *_STEPPED]
    + [POINTER(c_float), *_STEPPED, c_int],
}


class Cublas:
    """cuBLAS on an opened device.

    Parameters
    ----------
    runtime : Runtime
    library : ctypes.CDLL

    Raises
    ------
    DeviceError
        With the status's name, if the library does not work with the device.
    """

    def __init__(self, runtime, library: ctypes.CDLL):
        self._runtime = runtime
        self._library = libraries.declare(library, _SIGNATURES)
        self._handle = c_void_p()
        self._stream = self._math = None
        self._lock = threading.Lock()
        hopper = runtime.device.capability >= (9, 0)
        self._workspace_bytes = _WORKSPACE if hopper else _WORKSPACE_BEFORE_HOPPER
        # Not from the runtime's memory: like the context it stays while the device is open.
        self._workspace = runtime.reserve(self._workspace_bytes)
        try:
            self._call("cublasCreate_v2", byref(self._handle))
        except DeviceError:
            runtime.driver.free(self._workspace)
            raise

    def close(self) -> None:
        """Give back what the library holds on the device."""
        if self._handle:
            self._call("cublasDestroy_v2", self._handle)
            self._handle = c_void_p()
            self._runtime.driver.free(self._workspace)

    def sgemm(
        self,
        transpose_a: bool,
        transpose_b: bool,
        m: int,
        n: int,
        k: int,
        alpha: float,
        a: int,
        lda: int,
        b: int,
        ldb: int,
        beta: float,
        c: int,
        ldc: int,
        steps: tuple[int, int, int] = (0, 0, 0),
        count: int = 1,
    ) -> None:
        """c = alpha op(a) op(b) + beta c, for `count` triples of matrices stored in columns.

        Parameters
        ----------
        transpose_a, transpose_b : bool
            Whether `op` transposes.
        m, n, k : int
            op(a) is m x k, op(b) k x n, c m x n.
        a, b, c : int
            Addresses.
        lda, ldb, ldc : int
            Elements from one column to the next.
        steps : (int, int, int)
            Elements from one a, b, c to the next; 0 takes the same a or b again.
        count : int

        Raises
        ------
        ShapeError
            If a matrix does not fit its leading dimension, or the library's integers.
        DeviceError
        """
        check_sizes(transpose_a, transpose_b, m, n, k, (lda, ldb, ldc), steps, count)
        sizes = (int(transpose_a), int(transpose_b), m, n, k)
        alpha, beta = byref(c_float(alpha)), byref(c_float(beta))
        if count == 1:
            self._run("cublasSgemm_v2", *sizes, alpha, a, lda, b, ldb, beta, c, ldc)
            return
        first, second, third = ((a, lda, steps[0]), (b, ldb, steps[1]), (c, ldc, steps[2]))
        operands = (alpha, *first, *second, beta, *third)
        self._run("cublasSgemmStridedBatched", *sizes, *operands, count)

    def _run(self, name: str, *arguments) -> None:
        # Another thread may have another stream, as long as it captures a graph.
        with self._lock:
            self._prepare()
            self._call(name, self._handle, *arguments)

    def _prepare(self) -> None:
        self._runtime.enter()
        stream = self._runtime.stream
        if stream is not self._stream:
            self._call("cublasSetStream_v2", self._handle, stream.handle)
            # With work space of its own it allocates none, also while a CUDA graph is captured.
            # Setting the stream takes it away again.
            workspace = self._workspace, self._workspace_bytes
            self._call("cublasSetWorkspace_v2", self._handle, *workspace)
            self._stream = stream
        math = _TF32_MATH if libraries.tf32() else _DEFAULT_MATH
        if math != self._math:
            self._call("cublasSetMathMode", self._handle, math)
            self._math = math

    def _call(self, name: str, *arguments) -> None:
        status = getattr(self._library, name)(*arguments)
        if not status:
            return
        word = _STATUS.get(status, "unknown to this package")
        if word == "EXECUTION_FAILED":
            # The driver knows more, and says so if the device is lost.
            self._runtime.synchronize()
        raise DeviceError(
            f"cuBLAS: {name} failed with status {status} ({word})",
            help=_HELP.get(name) or _HELP.get(word),
        )


def check_sizes(transpose_a, transpose_b, m, n, k, leading, steps, count) -> None:
    """Refuse what the library would answer with INVALID_VALUE, or not at all."""
    if count < 1 or min(m, n, k, *steps) < 0 or max(m, n, k, count, *leading) > _MOST:
        raise ShapeError(
            f"cuBLAS cannot multiply {count} matrices with m {m}, n {n}, k {k}, leading dimensions"
            f" {leading}, steps {steps}; none may be negative or more than {_MOST}"
        )
    rows = (k if transpose_a else m, n if transpose_b else k, m)
    for name, ld, least in zip("abc", leading, rows, strict=True):
        if ld < max(1, least):
            raise ShapeError(
                f"the leading dimension of {name} is {ld}; a column of it has {least} elements"
            )
    if count > 1 and steps[2] < leading[2] * (n - 1) + m:
        raise ShapeError(f"results {steps[2]} elements apart overlap: each covers {m} x {n}")
