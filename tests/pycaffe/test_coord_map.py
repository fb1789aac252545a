"""coord_map: positions through convolution, pooling, deconvolution and cropping.

The expected value of a position is measured: a network of averages carries a ramp, whose value at
an element is the element's position in the input.
"""

import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn import layers as L
from caffe_spn import params as P
from caffe_spn.coord_map import (
    AxisMismatchException,
    UndefinedMapException,
    compose,
    coord_map,
    coord_map_from_to,
    crop,
    inverse,
)


def conv_pool_deconv(ks=3, stride=1, pad=0, pool=2, dstride=2, dpad=0):
    """A convolution, a pooling layer, and a deconvolution that is twice as wide as its stride."""
    n = caffe.NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 1, 40, 40]))
    n.conv = L.Convolution(n.data, num_output=1, kernel_size=ks, stride=stride, pad=pad)
    n.pool = L.Pooling(n.conv, pool=P.Pooling.AVE, kernel_size=pool, stride=pool)
    n.up = L.Deconvolution(
        n.pool,
        convolution_param=dict(
            num_output=1,
            kernel_size=2 * dstride,
            stride=dstride,
            pad=dpad,
            weight_filler=dict(type="bilinear"),
        ),
    )
    return n


def measured(n, name):
    """Positions in the data of two elements around the middle of a top, along one axis."""
    net = caffe.Net(n.to_proto(), caffe.TEST)
    for layer in net.layers:
        if layer.type == "Convolution":
            weights = layer.blobs[0].data
            weights[...] = 1 / weights[0, 0].size
    net.blobs["data"].data[...] = np.arange(40)[:, None]
    line = net.forward()[name][0, 0]
    middle = line.shape[0] // 2
    return middle, line[middle : middle + 2, line.shape[1] // 2]


@pytest.mark.parametrize(
    "settings",
    [
        dict(),
        dict(pool=4, dstride=4),
        dict(ks=5, pad=3, dpad=2),
        dict(ks=4, stride=2, pad=1, pool=2, dstride=4),
        dict(pool=4, dstride=2),
    ],
    ids=str,
)
def test_positions_are_those_of_a_ramp(settings):
    n = conv_pool_deconv(**settings)
    axis, scale, shift = coord_map_from_to(n.up, n.data)
    middle, values = measured(n, "up")
    assert axis == 1
    np.testing.assert_allclose(
        scale * [middle, middle + 1] + shift, values, rtol=1e-4, err_msg=str(settings)
    )


def test_layers_that_pass_positions_through():
    n = conv_pool_deconv()
    expected = coord_map_from_to(n.up, n.data)
    n.relu = L.ReLU(n.up)
    n.norm = L.Scale(L.BatchNorm(n.relu))
    n.sum = L.Eltwise(n.norm, n.up)
    n.conv1x1 = L.Convolution(n.sum, num_output=1, kernel_size=1)
    for top in (n.relu, n.norm, n.sum, n.conv1x1):
        assert coord_map_from_to(top, n.data) == expected


def test_dilation_widens_the_kernel():
    data = L.Input()
    wide = L.Convolution(data, num_output=1, kernel_size=5)
    dilated = L.Convolution(data, num_output=1, kernel_size=3, dilation=2)
    assert coord_map(wide.fn) == coord_map(dilated.fn)


def test_each_axis_has_its_own_map():
    n = conv_pool_deconv(ks=[3, 5], stride=[1, 2], pad=[0, 10])
    _, scale, shift = coord_map_from_to(n.up, n.data)
    for axis, settings in enumerate((dict(ks=3), dict(ks=5, stride=2, pad=10))):
        m = conv_pool_deconv(**settings)
        _, one_scale, one_shift = coord_map_from_to(m.up, m.data)
        assert (scale[axis], shift[axis]) == (one_scale[0], one_shift[0])


def test_three_spatial_axes():
    data = L.Input(shape=dict(dim=[2, 3, 20, 20, 20]))
    conv = L.Convolution(data, num_output=1, kernel_size=[3, 3, 3], pad=[0, 1, 2])
    up = L.Deconvolution(
        L.Pooling(conv, kernel_size=2, stride=2), num_output=1, kernel_size=4, stride=2
    )
    axis, scale, shift = coord_map_from_to(up, data)
    assert axis == 1 and (scale == 1).all()
    assert (shift[0] - 1, shift[1] - 1) == (shift[1], shift[2])


def test_several_bottoms_of_a_layer_have_the_same_map():
    one, two = L.Input(), L.Input()
    a, b = L.Convolution(one, two, ntop=2, num_output=1, kernel_size=5, stride=2)
    assert coord_map_from_to(a, one) == coord_map_from_to(b, two)


def test_a_crop_of_a_crop():
    n = conv_pool_deconv()
    axis, scale, shift = coord_map_from_to(n.up, n.data)
    n.cut = L.Crop(n.up, n.data, axis=2, offset=7)
    assert coord_map_from_to(n.cut, n.data) == (axis, scale, shift + 7)
    # The second bottom gives the size alone: no way leads over it.
    lone = L.Crop(L.Input(), n.data, axis=2)
    with pytest.raises(RuntimeError, match="are they connected by spatial layers"):
        coord_map_from_to(lone, n.data)


def test_crop_aligns_its_bottoms():
    n = conv_pool_deconv(ks=5, pad=10, pool=4, dstride=4)
    n.cut = crop(n.up, n.data)
    net = caffe.Net(n.to_proto(), caffe.TEST)
    assert net.blobs["cut"].data.shape == (1, 1, 40, 40)
    middle, values = measured(n, "cut")
    np.testing.assert_allclose(values, [middle, middle + 1], rtol=1e-5)


def test_crop_of_tops_without_a_spatial_layer_between():
    data = L.Input(shape=dict(dim=[1, 1, 4, 4]))
    assert crop(L.ReLU(data), data).fn.params == {"crop_param": dict(axis=2, offset=[0])}


def test_offsets_after_strides_that_are_no_powers_of_two():
    n = conv_pool_deconv(ks=7, stride=7, pad=70, pool=7)
    up = L.Deconvolution(n.pool, num_output=1, kernel_size=49, stride=49)
    assert crop(up, n.data).fn.params["crop_param"]["offset"] == [70]


# A network as large as those for segmentation


def vgg(n):
    """The geometry of VGG-16, padded by 100 so that any image survives it."""
    n.data = L.Input(shape=dict(dim=[1, 3, 64, 64]))
    bottom, pools = n.data, []
    for stage, (depth, width) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))):
        for number in range(depth):
            pad = 100 if stage == number == 0 else 1
            conv = L.Convolution(bottom, num_output=width, kernel_size=3, pad=pad)
            bottom = L.ReLU(conv, in_place=True)
        bottom = L.Pooling(bottom, pool=P.Pooling.MAX, kernel_size=2, stride=2)
        pools.append(bottom)
    fc6 = L.Dropout(L.ReLU(L.Convolution(bottom, num_output=64, kernel_size=7), in_place=True))
    return pools, L.Convolution(fc6, num_output=21, kernel_size=1)


def upscore(bottom, stride):
    size = dict(num_output=21, kernel_size=2 * stride, stride=stride, bias_term=False)
    return L.Deconvolution(bottom, convolution_param=size)


def skip(pool, below):
    """Scores of a pooling layer, cropped to those that come from below, and their sum."""
    score = crop(L.Convolution(pool, num_output=21, kernel_size=1), below)
    return score.fn.params["crop_param"]["offset"], L.Eltwise(below, score)


def test_offsets_of_fully_convolutional_networks():
    n = caffe.NetSpec()
    pools, score = vgg(n)
    whole = crop(upscore(score, 32), n.data)
    assert whole.fn.params["crop_param"] == dict(axis=2, offset=[19])
    pool4_offset, fused = skip(pools[3], upscore(score, 2))
    assert crop(upscore(fused, 16), n.data).fn.params["crop_param"]["offset"] == [27]
    pool3_offset, fused = skip(pools[2], upscore(fused, 2))
    assert crop(upscore(fused, 8), n.data).fn.params["crop_param"]["offset"] == [31]
    assert (pool4_offset, pool3_offset) == ([5], [9])


def test_many_ways_between_two_tops_are_walked_once():
    data = L.Input()
    top = data
    for _ in range(60):
        top = L.Eltwise(L.ReLU(top), top)
    assert coord_map_from_to(top, data) == (None, 1, 0)


# What has no map


def test_unconnected_tops():
    n = conv_pool_deconv()
    n.flat = L.InnerProduct(n.up, num_output=10)
    with pytest.raises(RuntimeError, match="Could not compute map between tops"):
        coord_map_from_to(n.flat, n.data)
    with pytest.raises(UndefinedMapException):
        coord_map(n.flat.fn)


def test_maps_of_different_axes():
    with pytest.raises(AxisMismatchException, match="behind axis 1, the other behind 2"):
        compose((1, 2, 0), (2, 1, 0))
    data = L.Input()
    deep = L.Convolution(data, num_output=1, kernel_size=3, axis=2)
    with pytest.raises(AxisMismatchException):
        coord_map_from_to(L.Pooling(deep, kernel_size=2), data)


def test_inverse_undoes_a_map():
    there = (1, np.array([0.5]), np.array([-3.0]))
    assert compose(there, inverse(there)) == (1, 1, 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(pool=3), "scale mismatch on crop"),
        (dict(dpad=10), "cannot crop negative offset"),
        (dict(ks=4, pad=5), "cannot crop noninteger offset"),
    ],
)
def test_crops_that_cannot_be(settings, message):
    n = conv_pool_deconv(**settings)
    with pytest.raises(AssertionError, match=message):
        crop(n.up, n.data)


def test_sides_of_their_own_are_refused():
    n = L.Convolution(L.Input(), num_output=1, kernel_h=3, kernel_w=5, kernel_size=3)
    with pytest.raises(AssertionError, match="does not support legacy _h/_w params"):
        coord_map(n.fn)
