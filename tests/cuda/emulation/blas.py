"""NVIDIA's libraries without a GPU: what the package asks of them, in NumPy.

The emulated device's addresses are the host's, so the stand-ins compute in its memory. They check
that everything they read and write lies in one array, as `Memory` knows it.
"""

from __future__ import annotations

import itertools

import numpy as np

from caffe_spn.cpu import convolution_numpy
from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.nvidia.cublas import check_sizes
from caffe_spn.cuda.nvidia.cudnn_descriptors import NotSupported
from caffe_spn.cuda.nvidia.libraries import Missing
from tests.cuda.emulation.memory import view


def install(runtime, cudnn: bool = True) -> Calls:
    """Put stand-ins into an opened, emulated device; without `cudnn` there is none.

    Returns
    -------
    Calls
        Which functions are called from then on.
    """
    calls = Calls()
    runtime.libraries["cublas"] = Blas(runtime, calls)
    runtime.libraries["cudnn"] = Dnn(runtime, calls) if cudnn else Missing()
    return calls


class Calls(list):
    """The names of what was called, in order."""


class Stand:
    """What both stand-ins have."""

    def __init__(self, runtime, calls: Calls):
        self.runtime = runtime
        self.memory = runtime.driver.memory
        self.calls = calls

    def close(self) -> None:
        # As the libraries do.
        self.runtime.driver.synchronize()
        self.memory = None

    def enqueue(self, compute, *arguments) -> None:
        """Compute where and when the driver does what is enqueued."""
        driver, stream = self.runtime.driver, self.runtime.stream
        driver.enqueue(stream, lambda: compute(*arguments))

    def strided(self, address: int, shape, steps) -> np.ndarray:
        """The float32 array of these steps (in elements) at an address of the device."""
        if 0 in shape:
            return np.empty(shape, np.float32)
        last = sum((size - 1) * step for size, step in zip(shape, steps, strict=True))
        self.memory.holding(address, 4 * (last + 1))
        flat = view(address, 4 * (last + 1)).view(np.float32)
        return np.lib.stride_tricks.as_strided(flat, shape, [4 * step for step in steps])

    def array(self, array) -> np.ndarray:
        """A DeviceArray's memory."""
        steps = [1, *itertools.accumulate(array.shape[:0:-1], lambda a, b: a * b)][::-1]
        return self.strided(array.address, array.shape, steps)


class Blas(Stand):
    """cuBLAS."""

    def sgemm(
        self, transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, steps, count
    ):
        check_sizes(transpose_a, transpose_b, m, n, k, (lda, ldb, ldc), steps, count)
        self.calls.append("sgemm")
        self.enqueue(
            self._sgemm,
            *(transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, steps, count),
        )

    def _sgemm(
        self, transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, steps, count
    ):
        rows_a, columns_a = (k, m) if transpose_a else (m, k)
        rows_b, columns_b = (n, k) if transpose_b else (k, n)
        # In columns: the next row is the next element.
        x = self.strided(a, (count, rows_a, columns_a), (steps[0], 1, lda))
        y = self.strided(b, (count, rows_b, columns_b), (steps[1], 1, ldb))
        z = self.strided(c, (count, m, n), (steps[2], 1, ldc))
        x = x.swapaxes(1, 2) if transpose_a else x
        y = y.swapaxes(1, 2) if transpose_b else y
        product = np.float32(alpha) * (x @ y)
        # With beta 0 the library does not read c, which may hold NaN.
        z[...] = product + np.float32(beta) * z if beta else product


class Dnn(Stand):
    """cuDNN.

    Attributes
    ----------
    refuses : set of str
        Functions that say NotSupported.
    """

    def __init__(self, runtime, calls: Calls):
        super().__init__(runtime, calls)
        self.refuses: set[str] = set()

    def _called(self, name: str, geometry, *arrays) -> list[DeviceArray]:
        self.calls.append(f"cudnn.{name}")
        if name in self.refuses:
            raise NotSupported(f"{name} is refused")
        axes = len(geometry.kernel)
        assert axes in (2, 3), "cuDNN has two or three spatial axes"
        assert all(len(a.shape) == axes + 2 and a.dtype == np.float32 for a in arrays)
        # Where the arrays lie is known now; the objects may be gone when a graph is launched.
        return [DeviceArray(a.address, a.shape) for a in arrays]

    def forward(self, x, w, y, geometry):
        arrays = self._called("forward", geometry, x, w, y)
        self.enqueue(self._forward, *arrays, geometry)

    def _forward(self, x, w, y, geometry):
        x, w, y = map(self.array, (x, w, y))
        convolution_numpy.forward(x, w, None, y, geometry)

    def backward_data(self, y_diff, w, x_diff, geometry):
        arrays = self._called("backward_data", geometry, y_diff, w, x_diff)
        self.enqueue(self._backward_data, *arrays, geometry)

    def _backward_data(self, y_diff, w, x_diff, geometry):
        y_diff, w, x_diff = map(self.array, (y_diff, w, x_diff))
        convolution_numpy.backward_data(y_diff, w, None, x_diff, geometry)

    def backward_weights(self, y_diff, x, w_diff, geometry):
        arrays = self._called("backward_weights", geometry, y_diff, x, w_diff)
        self.enqueue(self._backward_weights, *arrays, geometry)

    def _backward_weights(self, y_diff, x, w_diff, geometry):
        y_diff, x, w_diff = map(self.array, (y_diff, x, w_diff))
        convolution_numpy.backward_weights(y_diff, x, w_diff, geometry)
