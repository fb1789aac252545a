import numpy as np
import pytest

from caffe_spn.cpu.lrn import Neighbourhood
from caffe_spn.cuda import lrn
from caffe_spn.errors import ShapeError
from tests import golden_cases
from tests.cuda import both_devices
from tests.layers.running import normal

REGIONS = ["ACROSS_CHANNELS", "WITHIN_CHANNEL"]
SHAPES = [(2, 7, 5, 6), (1, 1, 1, 1), (2, 3, 1, 9), (1, 12, 11, 13), (2, 35, 17, 19)]


def layer(region, param=""):
    return f'type: "LRN" lrn_param {{ norm_region: {region} {param} }}'


@pytest.mark.parametrize("param", ["", "local_size: 3 alpha: 0.5", "local_size: 25 beta: 0.6"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("region", REGIONS)
def test_as_on_the_cpu(gpu, region, shape, param):
    both_devices.compare(gpu, layer(region, param), 2 * normal(*shape), atol=3e-6)


@pytest.mark.parametrize("beta", [0, 0.25, 0.5, 0.75, 1, 2])
def test_exponents(gpu, beta):
    definition = layer("ACROSS_CHANNELS", f"alpha: 0.1 k: 2 beta: {beta}")
    both_devices.compare(gpu, definition, normal(2, 7, 3, 4))


@pytest.mark.sanitized
@pytest.mark.parametrize("region", REGIONS)
def test_in_any_order(gpu_in_order, region):
    both_devices.compare(gpu_in_order, layer(region), normal(2, 7, 5, 6), atol=3e-6)


@pytest.mark.parametrize("region", REGIONS)
def test_equal_in_bits(gpu, region):
    both_devices.equal_in_bits(
        gpu, layer(region), normal(2, 7, 9, 11), top_diffs=[normal(2, 7, 9, 11, seed=1)]
    )


@pytest.mark.parametrize("region", REGIONS)
def test_in_place(gpu, region):
    both_devices.compare(gpu, layer(region), normal(2, 7, 5, 6), in_place=True, atol=3e-6)


@pytest.mark.parametrize("region", REGIONS)
def test_a_neighbourhood_larger_than_anything(gpu, region):
    both_devices.compare(
        gpu, layer(region, "local_size: 4294967295 alpha: 1e9"), normal(1, 3, 4, 5), atol=3e-6
    )


def test_no_maps(gpu):
    both_devices.compare(gpu, layer("ACROSS_CHANNELS"), np.zeros((0, 3, 4, 4)))


def test_shapes_must_fit(gpu):
    with pytest.raises(ShapeError, match=r"\(N, C, H, W\); these are \(2, 3\)"):
        lrn.forward(gpu.array((2, 3)), gpu.array((2, 3)), Neighbourhood(5, True, 1, 0.75, 1))


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("LRN",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path, gpu):
    both_devices.run_golden(gpu, case, tmp_path)
