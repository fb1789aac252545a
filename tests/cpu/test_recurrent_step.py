import numpy as np
import pytest

from caffe_spn.cpu.recurrent_step import step_input, step_input_back


def arrays(sums, cells, streams, dtype):
    rng = np.random.default_rng(0)
    shapes = (sums, cells), (cells, streams), (sums, streams)
    weights, h, start = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
    return weights, h, start, rng.integers(0, 2, streams).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(8, 3, 2), (1, 1, 1), (130, 40, 17)])
def test_step_input(shape, dtype):
    weights, h, start, marker = arrays(*shape, dtype)
    sums, h_in = start.copy(), np.empty_like(h)
    step_input(weights, h, marker, h_in, sums)
    np.testing.assert_array_equal(h_in, h * marker)
    np.testing.assert_allclose(sums, start + weights @ (h * marker), 1e-4, 1e-5)


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize("shape", [(8, 3, 2), (1, 1, 1), (130, 40, 17)])
def test_step_input_back(shape, copied):
    weights, h, sums_diff, marker = arrays(*shape, np.float32)
    transposed = weights.T.copy() if copied else weights.T
    h_diff = np.full_like(h, 7)
    step_input_back(transposed, marker, sums_diff, h_diff)
    np.testing.assert_allclose(h_diff, (weights.T @ sums_diff) * marker, 1e-4, 1e-5)
