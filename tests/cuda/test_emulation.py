"""The emulated device runs right kernels rightly."""

import numpy as np
import pytest

SOURCE = "faults.cu"


def on_device(gpu, *arrays):
    """Copies of host arrays on the device."""
    result = []
    for array in arrays:
        result.append(gpu.array(array.shape, array.dtype))
        gpu.upload(result[-1], np.ascontiguousarray(array))
    return result


def on_host(gpu, array):
    result = np.empty(array.shape, array.dtype)
    gpu.download(result, array)
    return result


def smoothed(x, steps):
    for _ in range(steps):
        padded = np.pad(x, ((0, 0), (1, 1)))
        x = 0.25 * padded[:, :-2] + 0.5 * padded[:, 1:-1] + 0.25 * padded[:, 2:]
    return x


@pytest.mark.sanitized
def test_block_sum_and_dynamic_shared_memory(gpu_in_order, rng):
    gpu = gpu_in_order
    x = rng.standard_normal((7, 300), np.float32)
    (x_gpu,) = on_device(gpu, x)
    y_gpu = gpu.array(x.shape)
    gpu.launch(SOURCE, "normalize_rows", 7, 256, x_gpu, y_gpu, 300, shared=1200)
    expected = x / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    np.testing.assert_allclose(on_host(gpu, y_gpu), expected, rtol=1e-6)


@pytest.mark.sanitized
def test_barriers_between_steps(gpu_in_order, rng):
    gpu = gpu_in_order
    x = rng.standard_normal((3, 256), np.float32)
    (x_gpu,) = on_device(gpu, x)
    y_gpu = gpu.array(x.shape)
    gpu.launch(SOURCE, "stencil", 3, 256, x_gpu, y_gpu, 32)
    expected = smoothed(x.astype(np.float64), 32)
    np.testing.assert_allclose(on_host(gpu, y_gpu), expected, rtol=1e-5, atol=1e-6)


@pytest.fixture
def rng():
    return np.random.default_rng(0)
