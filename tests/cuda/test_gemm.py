"""Products of matrices stored in rows, against NumPy; and what is refused before cuBLAS sees it."""

import numpy as np
import pytest

from caffe_spn.cuda.gemm import Matrices, gemm, product
from caffe_spn.errors import ShapeError
from tests.cuda.arrays import down, empty, normal, up


@pytest.mark.sanitized
@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 4, 5), (1, 7, 2), (6, 1, 3), (5, 2, 1)])
@pytest.mark.parametrize("transpose_b", [False, True])
@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.0), (-0.5, 1.0), (2.0, 0.25)])
def test_as_numpy(gpu, sizes, transpose_a, transpose_b, alpha, beta):
    m, n, k = sizes
    a = normal(*((k, m) if transpose_a else (m, k)))
    b = normal(*((n, k) if transpose_b else (k, n)), seed=1)
    c = normal(m, n, seed=2)
    got = up(c)
    gemm(transpose_a, transpose_b, alpha, up(a), up(b), beta, got)
    wanted = alpha * (a.T if transpose_a else a) @ (b.T if transpose_b else b) + beta * c
    np.testing.assert_allclose(down(got), wanted, 1e-5, 1e-5)


def test_with_beta_0_the_result_may_hold_anything(gpu):
    a, b, c = normal(2, 3), normal(3, 4), np.full((2, 4), np.nan, np.float32)
    got = up(c)
    gemm(False, False, 1.0, up(a), up(b), 0.0, got)
    np.testing.assert_allclose(down(got), a @ b, 1e-5)


def test_batches(gpu):
    a, b = normal(2, 3, 4, 5), normal(2, 3, 5, 2)
    got = empty((2, 3, 4, 2))
    gemm(False, False, 1.0, up(a), up(b), 0.0, got)
    np.testing.assert_allclose(down(got), a @ b, 1e-5, 1e-5)
    got = empty((6, 4, 2))
    gemm(False, False, 1.0, up(a[0, 0]), up(b.reshape(6, 5, 2)), 0.0, got)
    np.testing.assert_allclose(down(got), a[0, 0] @ b.reshape(6, 5, 2), 1e-5, 1e-5)


def test_matrices_within_arrays(gpu):
    """Columns 1 to 3 of a, every other row of b; the result between numbers that stay."""
    a, b, c = normal(2, 5), normal(6, 4), normal(4, 6)
    got = up(c)
    product(
        Matrices(up(a), 2, 3, start=1, pitch=5),
        Matrices(up(b), 3, 4, pitch=8),
        Matrices(got, 2, 4, start=7, pitch=6),
    )
    c[1:3, 1:5] = a[:, 1:4] @ b[::2]
    np.testing.assert_allclose(down(got), c, 1e-5, 1e-6)


@pytest.mark.parametrize(
    ("a", "b", "c", "message"),
    [
        ((2, 3), (4, 5), (2, 5), r"\(2, 3\) times \(4, 5\) is no product of shape \(2, 5\)"),
        ((2, 3), (3, 5), (2, 4), r"\(2, 3\) times \(3, 5\) is no product of shape \(2, 4\)"),
        ((3,), (3, 5), (1, 5), r"a is \(3,\); it must have two axes"),
        ((2, 2, 3), (3, 5), (3, 2, 5), r"a is \(2, 2, 3\); .* or 3 matrices before them"),
    ],
)
def test_shapes_must_fit(gpu, a, b, c, message):
    with pytest.raises(ShapeError, match=message):
        gemm(False, False, 1.0, empty(a), empty(b), 0.0, empty(c))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": 1}, r"matrix a ends at element 7 \(1 of 2 x 3, rows 3 .*\) has 6"),
        ({"pitch": 4}, "matrix a ends at element 7"),
        ({"pitch": 2}, "matrix a ends at element 5"),
        ({"start": -1}, "matrix a ends at element 5"),
    ],
)
def test_matrices_must_lie_in_their_arrays(gpu, options, message):
    whole = [Matrices(empty(shape), *shape) for shape in ((3, 4), (2, 4))]
    with pytest.raises(ShapeError, match=message):
        product(Matrices(empty((2, 3)), 2, 3, **options), *whole)


def test_matrices_are_float32(gpu):
    with pytest.raises(ShapeError, match="matrix b is float64; products are float32"):
        gemm(False, False, 1.0, empty((2, 3)), empty((3, 4), np.float64), 0.0, empty((2, 4)))


def test_nothing_is_multiplied_without_need(gpu):
    gpu.libraries.clear()
    gemm(False, False, 1.0, empty((0, 3)), up(normal(3, 4)), 0.0, empty((0, 4)))
    assert not gpu.libraries
