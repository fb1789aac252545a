import numpy as np
import pytest

from caffe_spn.cpu import batch_norm
from caffe_spn.errors import PrototxtError, ShapeError
from caffe_spn.gradient_check import check_gradients
from tests import golden_cases
from tests.layers.running import SHAPES, TEST, TRAIN, Run, normal

DEFINITION = 'type: "BatchNorm"'
GLOBAL = 'type: "BatchNorm" batch_norm_param { use_global_stats: true }'


def expected(x, eps=1e-5):
    """Normalised channel by channel; (the result, the means, the variances)."""
    y, means, variances = np.zeros(x.shape), [], []
    for c in range(x.shape[1]):
        values = [float(v) for v in x[:, c].ravel()]
        mean = sum(values) / len(values)
        variance = sum((v - mean) ** 2 for v in values) / len(values)
        y[:, c] = (x[:, c] - mean) / np.sqrt(variance + eps)
        means.append(mean)
        variances.append(variance)
    return y, np.array(means), np.array(variances)


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_forward_in_training(shape, in_place):
    x = normal(*shape) * 3 + 5
    wanted, mean, variance = expected(x)
    run = Run(DEFINITION, x, in_place=in_place)
    np.testing.assert_allclose(run.out, wanted, 1e-4, 1e-4)
    count = x.size // x.shape[1]
    unbiased = variance * (count / (count - 1) if count > 1 else 1)
    for blob, value in zip(run.layer.blobs, (mean, unbiased, [1]), strict=True):
        np.testing.assert_allclose(blob.data, value, 1e-5)


def test_running_averages():
    text = 'type: "BatchNorm" batch_norm_param { moving_average_fraction: 0.75 eps: 0.5 }'
    first, second = normal(4, 2, 3), normal(4, 2, 3, seed=1) + 7
    run = Run(text, first)
    run.bottom[0].data[...] = second
    run.forward()
    np.testing.assert_allclose(run.out, expected(second, eps=0.5)[0], 1e-5, 1e-5)
    sums = [0.75 * a + b for a, b in zip(expected(first)[1:], expected(second)[1:], strict=True)]
    np.testing.assert_allclose(run.layer.blobs[0].data, sums[0], 1e-5)
    np.testing.assert_allclose(run.layer.blobs[1].data, sums[1] * 12 / 11, 1e-5)
    assert run.layer.blobs[2].data == 1.75


@pytest.mark.parametrize(("text", "phase"), [(DEFINITION, TEST), (GLOBAL, TRAIN)])
def test_forward_with_running_averages(text, phase):
    x = normal(2, 2, 3, 4)
    params = [np.array([2.0, 4]), np.array([8.0, 2]), np.array([2.0])]
    run = Run(text, x, phase=phase, params=params)
    wanted = (x - np.reshape([1, 2], (2, 1, 1))) / np.sqrt(np.reshape([4, 1], (2, 1, 1)) + 1e-5)
    np.testing.assert_allclose(run.out, wanted, 1e-5, 1e-6)
    assert [blob.data.tolist() for blob in run.layer.blobs] == [p.tolist() for p in params]


def test_averages_of_nothing_are_zero():
    x = normal(2, 2)
    np.testing.assert_allclose(Run(DEFINITION, x, phase=TEST).out, x / np.sqrt(1e-5), 1e-5)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_gradient_in_training(shape):
    check_gradients(DEFINITION, [shape], check_params=False, threshold=1e-4)


def test_gradient_with_running_averages():
    params = [np.array([2.0, 4, 1]), np.array([8.0, 2, 3]), np.array([2.0])]
    check_gradients(GLOBAL, [(2, 3, 4)], check_params=False, params=params, threshold=1e-5)


@pytest.mark.parametrize("text", [DEFINITION, GLOBAL])
def test_in_place_equals_separate(text):
    params = [normal(3), np.abs(normal(3, seed=1)), [1]]
    runs = [Run(text, normal(2, 3, 4, 5), params=params, in_place=i) for i in (False, True)]
    top_diff = normal(2, 3, 4, 5, seed=2)
    diffs = [run.backward(top_diff)[0] for run in runs]
    np.testing.assert_array_equal(runs[0].out, runs[1].out)
    np.testing.assert_array_equal(*diffs)


def test_top_may_change_before_backward():
    # A Scale or ReLU in place after this layer overwrites its top.
    diffs = []
    for change in (1, -3):
        run = Run(DEFINITION, normal(2, 3, 4))
        run.out[...] *= change
        diffs.append(run.backward(normal(2, 3, 4, seed=1))[0])
    np.testing.assert_array_equal(*diffs)


def test_large_offsets_lose_no_variance():
    x = normal(8, 1, 64, 64) + 1000
    np.testing.assert_allclose(Run(DEFINITION, x).out.std(), 1, 1e-3)


def test_nan_stays_in_its_channel():
    x = normal(2, 3, 4)
    x[1, 2, 0] = np.nan
    out = Run(DEFINITION, x).out
    assert np.isnan(out[:, 2]).all()
    assert not np.isnan(out[:, :2]).any()


@pytest.mark.parametrize("shape", [(2, 3, 1000), (4, 5, 7), (1, 1, 1)])
def test_compiled_equals_numpy(shape):
    x, y_diff = normal(*shape), normal(*shape, seed=1)
    results = []
    for dtype in (np.float32, np.float64):
        y, saved, x_diff, centred = (np.empty(shape, dtype) for _ in range(4))
        mean, variance = np.empty(shape[1], dtype), np.empty(shape[1], dtype)
        batch_norm.forward(x.astype(dtype), 1e-5, y, saved, mean, variance)
        batch_norm.backward(y_diff.astype(dtype), saved, variance, 1e-5, x_diff)
        batch_norm.normalize(x.astype(dtype), mean, variance + 1, 1e-5, centred)
        results.append((y, saved, mean, variance, x_diff, centred))
    for got, wanted in zip(*results, strict=True):
        np.testing.assert_allclose(got, wanted, 1e-4, 1e-5 * max(1, np.abs(wanted).max()))


def test_the_solver_must_not_learn_the_averages():
    with pytest.raises(PrototxtError, match="has lr_mult 1 for blob 0"):
        Run(DEFINITION + " param { lr_mult: 1 }", normal(2, 3))
    layer = Run(DEFINITION + " param { lr_mult: 0 }", normal(2, 3)).layer
    assert [spec.lr_mult for spec in layer.layer_param.param] == [0, 0, 0]


def test_channels_must_not_change():
    run = Run(DEFINITION, normal(2, 3, 4))
    run.bottom[0].reshape(2, 4, 4)
    with pytest.raises(ShapeError, match=r"bottom is \(2, 4, 4\); it must have the 3 channels"):
        run.forward()


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("BatchNorm",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
