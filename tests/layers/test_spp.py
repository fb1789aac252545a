import math

import numpy as np
import pytest

import caffe_spn
from caffe_spn.errors import PrototxtError, ShapeError
from caffe_spn.gradient_check import check_gradients
from tests import golden_cases
from tests.layers.running import TEST, Run, normal

SHAPES = {"square": (2, 3, 8, 8), "odd": (1, 2, 9, 7), "flat": (2, 1, 4, 11), "pixel": (1, 2, 1, 1)}


def spp(height, pool="MAX"):
    return f'type: "SPP" spp_param {{ pyramid_height: {height} pool: {pool} }}'


def spans(size, bins):
    """First pixel and last, less padding, of each bin; and its size with padding."""
    kernel = math.ceil(size / bins)
    pad = (kernel * bins - size + 1) // 2
    starts = [b * kernel - pad for b in range(bins)]
    return [(max(0, s), min(size, s + kernel), min(s + kernel, size + pad) - s) for s in starts]


def expected(x, height, pool):
    """One bin at a time, level by level, as (N, C * bins)."""
    rows = []
    for image in x.astype(np.float64):
        row = []
        for bins in (2**i for i in range(height)):
            for plane in image:
                for top, bottom, bin_height in spans(x.shape[2], bins):
                    for left, right, bin_width in spans(x.shape[3], bins):
                        pixels = plane[top:bottom, left:right]
                        mean = pixels.sum() / (bin_height * bin_width)
                        row.append(pixels.max() if pool == "MAX" else mean)
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("height", [1, 2, 3])
def test_forward(height, shape, pool):
    if shape == SHAPES["pixel"] and height > 1:
        pytest.skip("more bins than pixels")
    x = normal(*shape)
    run = Run(spp(height, pool), x)
    wanted = expected(x, height, pool)
    assert run.out.shape == ((*shape[:2], 1, 1) if height == 1 else wanted.shape)
    np.testing.assert_allclose(run.out.reshape(wanted.shape), wanted, 1e-5, 1e-6)


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
@pytest.mark.parametrize("height", [1, 3])
def test_gradient(height, pool):
    # Numbers 0.01 apart and more: no step of the check changes which is the largest.
    x = np.random.default_rng(0).permutation(2 * 2 * 8 * 7).reshape(2, 2, 8, 7) * 0.01
    check_gradients(spp(height, pool), [x])


def test_max_is_the_default():
    x = normal(1, 2, 6, 6)
    out = Run('type: "SPP" spp_param { pyramid_height: 2 engine: CAFFE }', x).out
    np.testing.assert_array_equal(out, Run(spp(2), x).out)


def test_the_length_is_kept_at_any_image_size():
    run = Run(spp(2), normal(1, 2, 6, 6))
    x = normal(3, 2, 9, 4)
    run.bottom[0].reshape(*x.shape)
    run.bottom[0].data[...] = x
    run.forward()
    assert run.out.shape == (3, 10)
    np.testing.assert_array_equal(run.out, Run(spp(2), x).out)
    run.backward(run.out)
    np.testing.assert_array_equal(run.bottom[0].diff, Run(spp(2), x).backward(run.out)[0])


def test_stochastic_training_draws_pixels_and_testing_takes_expectations():
    caffe_spn.set_random_seed(3)
    x = np.abs(normal(2, 2, 4, 4))
    run = Run(spp(3, "STOCHASTIC"), x)
    assert set(run.out.ravel()) <= set(x.ravel())
    # The last level has one pixel in each bin.
    np.testing.assert_array_equal(run.out[:, 10:], x.reshape(2, -1))
    (diff,) = run.backward(np.ones_like(run.out))
    np.testing.assert_array_equal(diff.sum(axis=(2, 3)), 21)
    tested = Run(spp(1, "STOCHASTIC"), x, phase=TEST).out
    wanted = (x * x).sum(axis=(2, 3)) / x.sum(axis=(2, 3))
    np.testing.assert_allclose(tested[..., 0, 0], wanted, 1e-6)


def test_stochastic_training_goes_on_from_its_state_after_a_new_shape():
    x = np.abs(normal(2, 2, 4, 8))
    run = Run(spp(2, "STOCHASTIC"), np.abs(normal(1, 2, 4, 4)))
    state = run.layer.state()
    other = Run(spp(2, "STOCHASTIC"), x)
    other.layer.restore_state(state)
    for each in (run, other):
        each.bottom[0].reshape(*x.shape)
        each.bottom[0].data[...] = x
        each.forward()
    np.testing.assert_array_equal(other.out, run.out)


def test_the_height_is_needed():
    with pytest.raises(PrototxtError, match="has pyramid_height 0; it must be at least 1"):
        Run('type: "SPP"', normal(1, 1, 4, 4))


@pytest.mark.parametrize("shape", [(4, 6, 6), (1, 2, 0, 3)])
def test_four_axes_are_needed(shape):
    with pytest.raises(ShapeError, match="it must have 4 axes"):
        Run(spp(1), np.zeros(shape))


@pytest.mark.parametrize("size", [(5, 8), (8, 5), (3, 3)])
def test_a_bin_must_hold_a_pixel(size):
    with pytest.raises(ShapeError, match=r"4 x 4 bins need .* one would lie in the padding"):
        Run(spp(3), normal(1, 1, *size))


def test_a_pyramid_may_not_be_absurdly_high():
    with pytest.raises(ShapeError, match="one would lie in the padding"):
        Run(spp(4294967295), normal(1, 1, 8, 8))


def test_stochastic_pooling_cannot_be_padded():
    with pytest.raises(ShapeError, match="2 x 2 bins do not divide it"):
        Run(spp(2, "STOCHASTIC"), normal(1, 1, 4, 5))


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("SPP",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
