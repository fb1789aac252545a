import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_spn import DataError
from caffe_spn.data.coarse import make_coarse, resize_coarse

K = 3


@pytest.fixture
def label():
    label = np.zeros((40, 56), np.uint8)
    label[10:30, 12:40] = 1
    label[20:, 30:] = 2
    return label


def plain(label, rng, **options):
    clean = dict(warp=0.0, noise=0.0, shift=0, factor=8) | options
    return make_coarse(label, K, rng, **clean)


def expected_cells(label, factor):
    """Shares of the classes in each cell, ignored pixels left out."""
    rows, columns = -(-label.shape[0] // factor), -(-label.shape[1] // factor)
    cells = np.empty((K, rows, columns))
    for i in range(rows):
        for j in range(columns):
            block = label[i * factor : (i + 1) * factor, j * factor : (j + 1) * factor]
            counts = np.array([(block == k).sum() for k in range(K)], float)
            cells[:, i, j] = counts / counts.sum() if counts.sum() else 1 / K
    return cells


def expected_upsampling(cells, height, width, factor):
    out = np.empty((K, height, width))
    for i in range(height):
        for j in range(width):
            y = min(max((i + 0.5) / factor - 0.5, 0), cells.shape[1] - 1)
            x = min(max((j + 0.5) / factor - 0.5, 0), cells.shape[2] - 1)
            t, l = int(y), int(x)
            b, r = min(t + 1, cells.shape[1] - 1), min(l + 1, cells.shape[2] - 1)
            upper = cells[:, t, l] * (1 - x + l) + cells[:, t, r] * (x - l)
            lower = cells[:, b, l] * (1 - x + l) + cells[:, b, r] * (x - l)
            out[:, i, j] = upper * (1 - y + t) + lower * (y - t)
    return out


@pytest.mark.parametrize("size, factor", [((40, 56), 8), ((37, 51), 8), ((40, 56), 5), ((9, 3), 8)])
def test_without_perturbation_it_is_the_mean_of_cells_interpolated(label, size, factor):
    label = label[: size[0], : size[1]].copy()
    label[:10, :3] = 255
    got = plain(label, np.random.default_rng(0), factor=factor)
    want = expected_upsampling(expected_cells(label, factor), *size, factor)
    assert got.dtype == np.float32 and got.flags.c_contiguous
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_factor_one_without_perturbation_is_the_label(label):
    got = plain(label, np.random.default_rng(0), factor=1)
    np.testing.assert_array_equal(got.argmax(axis=0), label)


def test_shift_displaces_by_at_most_that(label):
    found = set()
    for seed in range(60):
        got = plain(label, np.random.default_rng(seed), factor=1, shift=2).argmax(axis=0)
        matches = [
            (y, x)
            for y in range(-2, 3)
            for x in range(-2, 3)
            if (got[4:-4, 4:-4] == np.roll(label, (-y, -x), (0, 1))[4:-4, 4:-4]).all()
        ]
        assert len(matches) == 1
        found.add(matches[0])
    assert len(found) > 15


def test_warp_moves_borders_smoothly_by_its_deviation():
    label = np.zeros((256, 256), np.uint8)
    label[:, 128:] = 1
    shifts = []
    for seed in range(8):
        got = plain(label, np.random.default_rng(seed), factor=1, warp=3.0)[1]
        border = (got < 0.5).sum(axis=1) - 128.0
        shifts.append(border)
        assert abs(np.diff(border)).max() <= 2  # no tears
    # Between nodes the interpolated field is weaker than on them.
    assert 1.5 < np.std(shifts) < 3.5


def test_noise_leaves_probabilities(label):
    clean = plain(label, np.random.default_rng(0))
    noisy = plain(label, np.random.default_rng(0), noise=0.1)
    assert 0.02 < np.std(noisy - clean) < 0.1
    assert noisy.min() >= 0
    np.testing.assert_allclose(noisy.sum(axis=0), 1, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 9), st.integers(0, 99))
def test_any_size_gives_probabilities(height, width, factor, seed):
    rng = np.random.default_rng(seed)
    label = rng.choice([0, 1, 2, 255], (height, width)).astype(np.uint8)
    got = make_coarse(label, K, rng, factor=factor)
    assert got.shape == (K, height, width) and got.min() >= 0
    np.testing.assert_allclose(got.sum(axis=0), 1, atol=1e-5)


def test_equal_generators_give_equal_maps(label):
    a, b = (make_coarse(label, K, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    assert (a != make_coarse(label, K, np.random.default_rng(6))).any()


def test_only_ignored_pixels_give_even_shares():
    got = plain(np.full((16, 16), 255, np.uint8), np.random.default_rng(0))
    np.testing.assert_allclose(got, 1 / K, atol=1e-6)


def test_a_label_that_is_no_class_is_refused(label):
    with pytest.raises(DataError, match=r"has 400 pixels of label 2; 2 classes go from 0 to 1"):
        make_coarse(label[:, :50], 2, np.random.default_rng(0))


def test_resize_coarse_enlarges_and_keeps_equal_sizes(label):
    cells = np.random.default_rng(0).random((K, 4, 5)).astype(np.float32)
    np.testing.assert_allclose(
        resize_coarse(cells, 24, 30), expected_upsampling(cells, 24, 30, 6), atol=1e-6
    )
    np.testing.assert_array_equal(resize_coarse(cells, 4, 5), cells)
