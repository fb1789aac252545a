import numpy as np
import pytest

from caffe_spn.cpu import matmul as matmul_module
from caffe_spn.cpu.matmul import matmul

blas = pytest.importorskip("caffe_spn.cpu.blas")


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def operands(m, n, k, transpose_a, transpose_b):
    a, b = normal(m, k, seed=1), normal(k, n, seed=2)
    wanted = a.astype(np.float64) @ b
    a = np.ascontiguousarray(a.T) if transpose_a else a
    b = np.ascontiguousarray(b.T) if transpose_b else b
    return a, b, wanted


@pytest.fixture
def no_blas(monkeypatch):
    monkeypatch.setattr(blas, "sgemm_address", lambda: 0)
    matmul_module._compiled_product.cache_clear()
    yield
    matmul_module._compiled_product.cache_clear()


# Long and short sides, strips of unequal width, a single row, no inner products at all.
@pytest.mark.parametrize("size", [(3, 5, 7), (65, 4, 9), (2, 131, 33), (1, 1, 1), (4, 3, 0)])
@pytest.mark.parametrize("transpose_b", [False, True])
@pytest.mark.parametrize("transpose_a", [False, True])
def test_product(size, transpose_a, transpose_b):
    a, b, wanted = operands(*size, transpose_a, transpose_b)
    out = np.full(wanted.shape, np.nan, np.float32)
    matmul(a, b, out, transpose_a, transpose_b)
    np.testing.assert_allclose(out, wanted, 1e-5, 1e-5)
    matmul(a, b, out, transpose_a, transpose_b, add=True)
    np.testing.assert_allclose(out, 2 * wanted, 1e-5, 2e-5)


def test_product_in_float64_is_exact():
    a, b, wanted = operands(3, 4, 5, False, True)
    out = np.empty(wanted.shape)
    matmul(a.astype(np.float64), b.astype(np.float64), out, transpose_b=True)
    np.testing.assert_allclose(out, wanted, 1e-14)


def test_product_without_blas(no_blas):
    a, b, wanted = operands(6, 7, 8, True, False)
    out = np.empty(wanted.shape, np.float32)
    matmul(a, b, out, transpose_a=True)
    np.testing.assert_allclose(out, wanted, 1e-5, 1e-5)


def test_nan_reaches_the_product():
    a, b = normal(4, 3), normal(3, 5)
    a[1, 2] = np.nan
    out = np.empty((4, 5), np.float32)
    matmul(a, b, out)
    assert np.isnan(out).tolist() == [[i == 1] * 5 for i in range(4)]


def test_the_thread_count_is_given_back():
    get, set_ = blas.thread_functions()
    before = get()
    set_(2)
    try:
        with blas.single_threaded():
            assert get() == 1
        assert get() == 2
        with pytest.raises(ZeroDivisionError), blas.single_threaded():
            raise ZeroDivisionError
        assert get() == 2
    finally:
        set_(before)


def test_no_address_without_thread_functions(monkeypatch):
    # A BLAS whose threads cannot be held back must not be called inside our own threads.
    monkeypatch.setattr(blas, "thread_functions", lambda: None)
    assert blas.sgemm_address.__wrapped__() == 0


def test_no_address_for_64_bit_integers(monkeypatch):
    from scipy.linalg import cython_blas

    other = {"sgemm": cython_blas.__pyx_capi__["isamax"]}
    monkeypatch.setattr(cython_blas, "__pyx_capi__", other)
    assert blas.sgemm_address.__wrapped__() == 0
