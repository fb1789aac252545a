import numpy as np
import pytest

from caffe_spn.errors import PrototxtError, ShapeError
from caffe_spn.gradient_check import check_gradients
from tests import golden_cases
from tests.layers.running import Run, normal

SHAPES = {
    "batch": (2, 7, 3, 4),
    "fewer than neighbours": (2, 2, 2, 5),
    "single": (1, 1, 1, 1),
    "rows": (1, 3, 9, 1),
}
PARAMS = {
    "default": dict(local_size=5, alpha=1.0, beta=0.75, k=1.0),
    "alexnet": dict(local_size=5, alpha=1e-4, beta=0.75, k=2.0),
    "one neighbour": dict(local_size=1, alpha=2.0, beta=0.5, k=1.0),
    "another power": dict(local_size=3, alpha=0.5, beta=1.3, k=0.5),
    "all neighbours": dict(local_size=99, alpha=9.0, beta=0.25, k=1.0),
}
REGIONS = ["ACROSS_CHANNELS", "WITHIN_CHANNEL"]


def definition(region, local_size, alpha, beta, k):
    k = k if region == "ACROSS_CHANNELS" else 1
    return (
        f'type: "LRN" lrn_param {{ norm_region: {region} local_size: {local_size} alpha: {alpha}'
        f" beta: {beta} k: {k} }}"
    )


def expected(x, region, local_size, alpha, beta, k):
    y = np.zeros(x.shape)
    reach = local_size // 2
    for n, c, h, w in np.ndindex(*x.shape):
        if region == "ACROSS_CHANNELS":
            around = x[n, max(0, c - reach) : c + reach + 1, h, w]
            count = local_size
        else:
            rows, columns = (slice(max(0, i - reach), i + reach + 1) for i in (h, w))
            around = x[n, c, rows, columns]
            count, k = local_size**2, 1
        total = sum(float(v) ** 2 for v in around.ravel())
        y[n, c, h, w] = float(x[n, c, h, w]) * (k + alpha / count * total) ** -beta
    return y


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("params", PARAMS.values(), ids=PARAMS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_forward(shape, params, region):
    x = 3 * normal(*shape)
    out = Run(definition(region, **params), x).out
    np.testing.assert_allclose(out, expected(x, region, **params), 1e-5, 1e-6)


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("params", PARAMS.values(), ids=PARAMS)
def test_gradient(params, region):
    check_gradients(definition(region, **params), [(2, 7, 2, 3)])


@pytest.mark.parametrize("region", REGIONS)
def test_in_place_gives_what_a_separate_top_gives(region):
    x, diff = normal(2, 6, 3, 4), normal(2, 6, 3, 4, seed=1)
    text = definition(region, **PARAMS["default"])
    separate, in_place = Run(text, x), Run(text, x, in_place=True)
    np.testing.assert_array_equal(in_place.out, separate.out)
    np.testing.assert_array_equal(in_place.backward(diff)[0], separate.backward(diff)[0])


def test_a_missing_message_is_the_default():
    x = normal(2, 6, 3, 4)
    out = Run('type: "LRN"', x).out
    np.testing.assert_array_equal(out, Run(definition(REGIONS[0], **PARAMS["default"]), x).out)


def test_the_engine_does_not_matter():
    x = normal(2, 6, 3, 4)
    out = Run('type: "LRN" lrn_param { engine: CUDNN }', x).out
    np.testing.assert_array_equal(out, Run('type: "LRN"', x).out)


@pytest.mark.parametrize("size", [0, 4])
def test_an_even_size_is_refused(size):
    with pytest.raises(PrototxtError, match=f"has local_size {size}; it must be odd"):
        Run(f'type: "LRN" lrn_param {{ local_size: {size} }}', normal(1, 1, 1, 1))


def test_k_has_no_effect_within_a_channel_and_that_is_said():
    x = normal(1, 2, 4, 5)
    text = 'type: "LRN" lrn_param { norm_region: WITHIN_CHANNEL k: 2 }'
    with pytest.warns(UserWarning, match="takes k = 1, as in Caffe, not k = 2"):
        out = Run(text, x).out
    np.testing.assert_array_equal(out, Run(text.replace("k: 2", ""), x).out)


def test_four_axes_are_needed():
    with pytest.raises(ShapeError, match=r"bottom is \(2, 3\); it must have 4 axes"):
        Run('type: "LRN"', normal(2, 3))


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("LRN",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
