import math

import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn.errors import PrototxtError
from caffe_spn.filler import FILLERS, fill
from caffe_spn.proto import caffe_pb2, text
from tests import golden_cases


def filled(definition, *shape, seed=0):
    param = text.parse(definition, caffe_pb2.FillerParameter(), "<filler>")
    array = np.full(shape, np.nan, np.float32)
    fill(array, param, np.random.default_rng(seed))
    return array


def test_constant():
    np.testing.assert_array_equal(filled("value: 2.5", 2, 3), np.full((2, 3), 2.5))
    np.testing.assert_array_equal(filled(""), 0)


def test_uniform():
    values = filled('type: "uniform" min: -1 max: 3', 100, 200)
    assert -1 <= values.min() < -0.99 and 2.99 < values.max() <= 3
    assert values.mean() == pytest.approx(1, abs=0.05)


def test_gaussian():
    values = filled('type: "gaussian" mean: 2 std: 0.5', 100, 200)
    assert values.mean() == pytest.approx(2, abs=0.02)
    assert values.std() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("sparse", [0, 15, 50])
def test_sparse_gaussian_has_so_many_weights_for_each_output(sparse):
    # Caffe's probability is sparse / outputs.
    values = filled(f'type: "gaussian" sparse: {sparse}', 50, 400)
    assert (values != 0).mean() == pytest.approx(sparse / 50, abs=0.01)


def test_positive_unitball():
    values = filled('type: "positive_unitball"', 4, 3, 5)
    assert (values > 0).all()
    np.testing.assert_allclose(values.reshape(4, -1).sum(axis=1), 1, 1e-6)


# A blob (20, 30, 4, 5): 600 weights feed an output, 400 hang on an input.
FANS = {"FAN_IN": 600, "FAN_OUT": 400, "AVERAGE": 500}


@pytest.mark.parametrize("norm", FANS)
def test_xavier(norm):
    values = filled(f'type: "xavier" variance_norm: {norm}', 20, 30, 4, 5)
    bound = math.sqrt(3 / FANS[norm])
    assert 0.99 * bound < np.abs(values).max() <= bound * (1 + 1e-6)
    assert values.std() == pytest.approx(math.sqrt(1 / FANS[norm]), rel=0.03)


@pytest.mark.parametrize("norm", FANS)
def test_msra(norm):
    values = filled(f'type: "msra" variance_norm: {norm}', 20, 30, 4, 5)
    assert values.mean() == pytest.approx(0, abs=0.005)
    assert values.std() == pytest.approx(math.sqrt(2 / FANS[norm]), rel=0.03)


def test_fan_out_of_a_vector_is_its_size():
    values = filled('type: "xavier" variance_norm: FAN_OUT', 4000)
    assert np.abs(values).max() == pytest.approx(math.sqrt(3 / 4000), rel=0.01)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6])
def test_bilinear(size):
    values = filled('type: "bilinear"', 2, 3, size, size)
    factor = math.ceil(size / 2)
    centre = (size - 1) / (2 * factor)
    for n, c, y, x in np.ndindex(*values.shape):
        wanted = (1 - abs(x / factor - centre)) * (1 - abs(y / factor - centre))
        assert values[n, c, y, x] == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("name", [name for name in FILLERS if name not in ("constant", "bilinear")])
def test_the_generator_decides(name):
    definition = f'type: "{name}"'
    first, again, other = (filled(definition, 3, 4, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_the_packages_generator_is_the_default():
    param = caffe_pb2.FillerParameter(type="gaussian")
    arrays = np.zeros((2, 5), np.float32)
    for array in arrays:
        caffe.set_random_seed(8)
        fill(array, param)
    np.testing.assert_array_equal(arrays[0], arrays[1])


@pytest.mark.parametrize(
    "definition, shape, message, remedy",
    [
        ('type: "Gausian"', (2, 2), "unknown filler 'Gausian'", "did you mean 'gaussian'?"),
        ('type: "zzz"', (2, 2), "unknown filler 'zzz'", "there are constant, uniform"),
        ('type: "xavier" sparse: 3', (2, 2), "'xavier' cannot be sparse", "gaussian filler"),
        ('type: "uniform" min: 2', (2, 2), "has min 2 above max 1", "max is 1"),
        ('type: "gaussian" std: 0', (2, 2), "has std 0; it must be positive", "constant filler"),
        ('type: "gaussian" sparse: 3', (2, 9), "sparse 3, .* has 2 outputs", "-1 means dense"),
        ('type: "gaussian" sparse: -2', (2, 9), "sparse -2", "-1 means dense"),
        ('type: "msra"', (), r"needs a blob with outputs and inputs; this one is \(\)", "use the"),
        ('type: "positive_unitball"', (), r"this one is \(\)", "use the"),
        ('type: "xavier"', (0, 3), r"needs a blob with elements; this one is \(0, 3\)", "sizes"),
        ('type: "constant"', (2, 0), r"needs a blob with elements; this one is \(2, 0\)", "sizes"),
        ('type: "bilinear"', (2, 2), r"needs a blob of 4 axes; this one is \(2, 2\)", "2-D"),
        ('type: "bilinear"', (1, 1, 2, 3), "needs a square kernel; this one is 2 x 3", "kernel_si"),
    ],
)
def test_errors(definition, shape, message, remedy):
    with pytest.raises(PrototxtError, match=message) as caught:
        filled(definition, *shape)
    assert remedy in caught.value.help


@pytest.mark.parametrize("case", golden_cases.cases("filler"), ids=golden_cases.case_id)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
