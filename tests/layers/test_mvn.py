import numpy as np
import pytest

from caffe_spn.errors import ShapeError
from caffe_spn.gradient_check import check_gradients
from tests import golden_cases
from tests.layers.running import Run, normal

SHAPES = {"batch": (2, 3, 4, 5), "row": (2, 1, 1, 6), "matrix": (3, 5), "list": (4,)}
VARIANTS = [(across, variance) for across in (False, True) for variance in (False, True)]


def mvn(across=False, variance=True, rest=""):
    return (
        f'type: "MVN" mvn_param {{ across_channels: {str(across).lower()}'
        f" normalize_variance: {str(variance).lower()} {rest} }}"
    )


def rows(shape, across):
    """The index of each group of elements that share mean and variance."""
    return list(np.ndindex(*shape[: 1 if across else 2]))


def expected(x, across, variance, eps=1e-9):
    x = np.asarray(x, np.float64).reshape(x.shape + (1,) * (4 - x.ndim))
    y = np.empty_like(x)
    for row in rows(x.shape, across):
        values = [float(v) for v in x[row].ravel()]
        mean = sum(values) / len(values)
        deviation = (sum((v - mean) ** 2 for v in values) / len(values)) ** 0.5
        y[row] = (x[row] - mean) / (deviation + eps if variance else 1)
    return y


@pytest.mark.parametrize(("across", "variance"), VARIANTS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_forward(shape, across, variance):
    # An eps that counts, since some of these rows have one element and no deviation.
    x = 2 + 3 * normal(*shape)
    out = Run(mvn(across, variance, "eps: 0.01"), x).out
    wanted = expected(x, across, variance, 0.01)
    assert out.shape == wanted.shape
    np.testing.assert_allclose(out, wanted, 1e-4, 1e-4)


def test_nothing_stated_means_each_channel_with_variance():
    x = normal(2, 3, 4, 5)
    np.testing.assert_array_equal(Run('type: "MVN"', x).out, Run(mvn(), x).out)


@pytest.mark.parametrize(("across", "variance"), VARIANTS)
def test_gradient(across, variance):
    check_gradients(mvn(across, variance), [(2, 3, 4, 5)])


def test_gradient_with_a_large_eps_is_that_of_caffe():
    x, top_diff = normal(2, 3, 4, 5), normal(2, 3, 4, 5, seed=1)
    run = Run(mvn(rest="eps: 0.5"), x)
    diff = run.backward(top_diff)[0]
    for row in rows(x.shape, across=False):
        y, g = run.out[row], top_diff[row]
        wanted = (g - y * (y * g).mean() - g.mean()) / (x[row].std() + 0.5)
        np.testing.assert_allclose(diff[row], wanted, 1e-4, 1e-5)


@pytest.mark.parametrize(("across", "variance"), VARIANTS)
def test_in_place_equals_separate(across, variance):
    x, top_diff = normal(2, 3, 4, 5), normal(2, 3, 4, 5, seed=1)
    runs = [Run(mvn(across, variance), x, in_place=i) for i in (False, True)]
    np.testing.assert_array_equal(runs[1].out, runs[0].out)
    np.testing.assert_array_equal(runs[1].backward(top_diff)[0], runs[0].backward(top_diff)[0])


def test_the_gradient_is_written_only_where_wanted():
    run = Run(mvn(), normal(1, 1, 2, 3))
    run.bottom[0].diff.fill(9)
    assert (run.backward(1.0, propagate=[False])[0] == 9).all()


def test_a_constant_map_becomes_0():
    run = Run(mvn(), np.full((1, 2, 7, 9), 0.1))
    np.testing.assert_array_equal(run.out, np.zeros((1, 2, 7, 9)))


@pytest.mark.parametrize("shape", [(0, 2, 3, 4), (2, 2, 0, 4)])
def test_nothing_stays_nothing(shape):
    run = Run(mvn(), np.zeros(shape))
    assert run.out.shape == shape
    run.backward(0)


def test_nan_stays_in_its_map():
    x = normal(2, 2, 2, 3)
    x[0, 1, 0, 2] = np.nan
    out = Run(mvn(), x).out
    assert np.isnan(out[0, 1]).all() and np.isnan(out).sum() == 6


def test_the_bottom_may_change():
    run = Run(mvn(), normal(1, 2, 3, 4))
    run.bottom[0].reshape(3, 2, 5, 5)
    x = run.bottom[0].data[...] = normal(3, 2, 5, 5)
    run.forward()
    np.testing.assert_allclose(run.out, expected(x, False, True), 1e-4, 1e-4)


def test_four_axes_at_most():
    with pytest.raises(ShapeError, match=r"is \(1, 2, 3, 4, 5\); it must have at most 4 axes"):
        Run(mvn(), normal(1, 2, 3, 4, 5))


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("MVN",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
