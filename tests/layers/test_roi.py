import numpy as np
import pytest

from caffe_spn.errors import DataError, PrototxtError, ShapeError
from caffe_spn.gradient_check import check_gradients
from tests.layers.running import Run, normal

# Two regions of the first image overlap; one touches the far corner of the second.
REGIONS = np.array([[1, 1, 1, 3, 2], [1, 2, 2, 4, 3], [2, 4, 5, 6, 6]])


def roi(height=2, width=3):
    return f'type: "ROI" roi_param {{ pooled_h: {height} pooled_w: {width} }}'


def expected(x, regions, height, width):
    top = np.zeros((len(regions), x.shape[1], height, width), x.dtype)
    for r, c, i, j in np.ndindex(*top.shape):
        image, x1, y1, _, _ = regions[r]
        top[r, c, i, j] = x[image - 1, c, y1 - 1 + i, x1 - 1 + j]
    return top


def test_forward():
    x = normal(2, 3, 6, 6)
    run = Run(roi(), x, REGIONS)
    np.testing.assert_array_equal(run.out, expected(x, REGIONS, 2, 3))


def test_default_size():
    x = normal(1, 1, 130, 129)
    out = Run('type: "ROI"', x, [[1, 2, 3, 129, 130]]).out
    np.testing.assert_array_equal(out, x[:, :, 2:130, 1:129])


def test_a_region_may_be_one_pixel_and_the_whole_map():
    x = normal(3, 2, 1, 1)
    np.testing.assert_array_equal(Run(roi(1, 1), x, [[3, 1, 1, 1, 1]]).out, x[2:])


def test_gradient_also_where_regions_overlap():
    check_gradients(roi(), [(2, 3, 6, 6), REGIONS])


def test_fractions_are_cut_off_and_regions_may_have_more_axes():
    x = normal(2, 3, 6, 6)
    run = Run(roi(), x, (REGIONS + 0.9).reshape(3, 5, 1, 1))
    np.testing.assert_array_equal(run.out, expected(x, REGIONS, 2, 3))


def test_no_regions():
    run = Run(roi(), normal(2, 3, 6, 6), np.zeros((0, 5)))
    assert run.out.shape == (0, 3, 2, 3)
    assert not run.backward(run.out)[0].any()


def test_the_number_of_regions_may_change():
    x = normal(2, 3, 6, 6)
    run = Run(roi(), x, REGIONS)
    run.bottom[1].reshape(1, 5)
    run.bottom[1].data[...] = REGIONS[2:]
    run.forward()
    np.testing.assert_array_equal(run.out, expected(x, REGIONS[2:], 2, 3))


@pytest.mark.parametrize(
    ("region", "finding"),
    [
        ((0, 1, 1, 3, 2), r"\(0, 1, 1, 3, 2\): there is no image 0, only 1 to 2"),
        ((3, 1, 1, 3, 2), "there is no image 3, only 1 to 2"),
        ((1, 1, 1, 3, 3), "it is 3 high and 3 wide, not 2 and 3"),
        ((1, 0, 1, 2, 2), "it leaves the map, 6 high and 6 wide"),
        ((1, 1, 0, 3, 1), "it leaves the map"),
        ((1, 5, 1, 7, 2), "it leaves the map"),
        ((1, 1, 6, 3, 7), "it leaves the map"),
        ((1, np.nan, 1, 3, 2), r"\(1, nan, 1, 3, 2\): it is not finite"),
    ],
)
def test_regions_must_fit(region, finding):
    with pytest.raises(DataError, match=f"region 1 of bottom 1 is .*{finding}") as error:
        Run(roi(), normal(2, 3, 6, 6), [REGIONS[0], region])
    assert error.value.help


@pytest.mark.parametrize(
    ("x", "regions", "message"),
    [
        ((3, 6, 6), (1, 5), r"bottom 0 is \(3, 6, 6\); it must have 4 axes"),
        ((1, 3, 6, 6), (1, 4), r"regions\) is \(1, 4\); it must be \(R, 5\)"),
        ((1, 3, 6, 6), (), r"regions\) is \(\); it must be \(R, 5\)"),
    ],
)
def test_shapes_must_fit(x, regions, message):
    with pytest.raises(ShapeError, match=message):
        Run(roi(), np.zeros(x), np.zeros(regions))


@pytest.mark.parametrize("size", [(0, 3), (3, 0)])
def test_sizes_must_be_positive(size):
    with pytest.raises(PrototxtError, match="they must be positive"):
        Run(roi(*size), normal(1, 1, 4, 4), REGIONS[:1])


def test_regions_have_no_gradient():
    run = Run(roi(), normal(2, 3, 6, 6), REGIONS)
    with pytest.raises(PrototxtError, match=r"gradient for bottom 1 \('b1'\), the regions"):
        run.backward(run.out, propagate=[True, True])
