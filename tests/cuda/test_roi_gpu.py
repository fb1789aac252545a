"""ROI on a GPU: against its CPU path, to the bit, also where patches overlap."""

import numpy as np
import pytest

import caffe_spn
from caffe_spn.cuda import roi
from caffe_spn.errors import DataError, PrototxtError, ShapeError
from tests.cuda import both_devices
from tests.cuda.arrays import empty, normal
from tests.layers.running import Run
from tests.layers.test_roi import REGIONS
from tests.layers.test_roi import roi as definition

SOME = {
    "one": REGIONS[2:],
    "overlapping": REGIONS,
    "images mixed": np.concatenate((REGIONS[::-1], REGIONS, REGIONS[:1])),
    "more axes": (REGIONS + 0.9).reshape(3, 5, 1, 1),
}


@pytest.mark.sanitized
@pytest.mark.parametrize("regions", SOME.values(), ids=SOME)
def test_as_on_the_cpu(gpu_in_order, regions):
    compare(gpu_in_order, definition(), normal(2, 3, 6, 6), regions)


def compare(gpu, text, x, regions):
    # Gradients are added up in the regions' order on both sides.
    both_devices.compare(gpu, text, x, regions, rtol=0, atol=0)


def test_many_patches(gpu):
    corners = np.random.default_rng(0).integers([0, 0, 0], [3, 25, 17], (50, 3))
    image, row, column = corners.T + 1
    regions = np.stack((image, column, row, column + 23, row + 15), axis=1)
    compare(gpu, definition(16, 24), normal(3, 2, 40, 40), regions)


def test_one_pixel_and_the_whole_map(gpu):
    compare(gpu, definition(1, 1), normal(3, 2, 1, 1), np.array([[3, 1, 1, 1, 1]]))


def test_no_regions(gpu):
    caffe_spn.set_mode_gpu()
    run = Run(definition(), normal(2, 3, 6, 6), np.zeros((0, 5)))
    run.bottom[0].diff[...] = 1
    assert not run.backward(run.out, propagate=[True, False])[0].any()


def test_the_number_of_regions_may_change(gpu):
    caffe_spn.set_mode_gpu()
    run = Run(definition(), normal(2, 3, 6, 6), REGIONS)
    run.bottom[1].reshape(1, 5)
    run.bottom[1].data[...] = REGIONS[2:]
    x = run.bottom[0].data.copy()
    run.forward()
    np.testing.assert_array_equal(run.out, x[1:, :, 4:6, 3:6])
    (diff, *_) = run.backward(np.ones((1, 3, 2, 3)), propagate=[True, False])
    assert diff.sum() == diff[1, :, 4:6, 3:6].sum() == 18


def test_errors_are_the_cpus(gpu):
    caffe_spn.set_mode_gpu()
    with pytest.raises(DataError, match=r"region 1 of bottom 1 is .* there is no image 3"):
        Run(definition(), normal(2, 3, 6, 6), [REGIONS[0], (3, 1, 1, 3, 2)])
    run = Run(definition(), normal(2, 3, 6, 6), REGIONS)
    with pytest.raises(PrototxtError, match="gradient for bottom 1"):
        run.backward(run.out, propagate=[True, True])


def test_sizes_are_checked(gpu):
    x, plan, top = empty((2, 3, 6, 6)), empty((11,), np.int32), empty((2, 3, 2, 3))
    roi.forward(x, plan, empty((2, 3, 0, 0)))
    with pytest.raises(ShapeError, match=r"plan is \(10,\) .* 11 elements"):
        roi.forward(x, plan.part(0, (10,)), top)
    with pytest.raises(ShapeError, match=r"patches \(2, 4, 2, 3\) cannot come from maps"):
        roi.backward(empty((2, 4, 2, 3)), plan, x)
