"""Refinement of images of any size: tiles, padding, blending, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import caffe_spn as caffe
from caffe_spn.data.coarse import make_coarse, resize_coarse
from caffe_spn.errors import DataError, PrototxtError, ShapeError
from caffe_spn.proto import caffe_pb2, text
from caffe_spn.refine import coarse_labels, one_hot, refine, restrict
from caffe_spn.refine_plan import bytes_per_pixel, plan, stride_multiple
from caffe_spn.tiling import spans

INPUTS = """
layer { name: "image" type: "Input" top: "image"
  input_param { shape { dim: 1 dim: 3 dim: 32 dim: 32 } } }
layer { name: "coarse" type: "Input" top: "coarse"
  input_param { shape { dim: 1 dim: 2 dim: 32 dim: 32 } } }
"""
# Down by four and up again: each pixel of the result sees 17 pixels of the image to either side.
STRIDED = (
    INPUTS
    + """
layer { name: "scaled" type: "Power" bottom: "image" top: "scaled" power_param { scale: 0.02 } }
layer { name: "conv1" type: "Convolution" bottom: "scaled" top: "conv1"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 stride: 2
    weight_filler { type: "xavier" } } }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
  pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "up" type: "Deconvolution" bottom: "pool1" top: "up"
  convolution_param { num_output: 2 kernel_size: 8 pad: 2 stride: 4
    weight_filler { type: "gaussian" std: 0.2 } } }
layer { name: "sum" type: "Eltwise" bottom: "up" bottom: "coarse" top: "sum"
  eltwise_param { coeff: 1 coeff: 4 } }
layer { name: "prob" type: "Softmax" bottom: "sum" top: "prob" }
"""
)
# Propagates over long distances: a pixel's influence falls to a hundredth after 20 pixels.
SPN = (
    INPUTS
    + """
layer { name: "guidance" type: "Convolution" bottom: "image" top: "guidance"
  convolution_param { num_output: 24 kernel_size: 1 } }
layer { name: "prob" type: "SpatialPropagation" bottom: "coarse" bottom: "guidance" top: "prob"
  spatial_propagation_param { normalization: CLIP } }
"""
)
COPY = INPUTS + 'layer { name: "prob" type: "Power" bottom: "coarse" top: "prob" }'


def build(definition):
    caffe.set_random_seed(3)
    return caffe.Net(text.parse(definition, caffe_pb2.NetParameter()), caffe.TEST)


def picture(height, width, seed=0):
    """A photograph with a mask of its bright parts, as a coarse map."""
    from skimage import data

    image = data.astronaut()[:height, :width, ::-1]
    labels = (image.sum(axis=2) > 300).astype(np.uint8)
    return image, make_coarse(labels, 2, np.random.default_rng(seed))


# Tiles


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 60), st.integers(2, 20), st.integers(0, 15))
def test_weights_of_tiles_sum_to_one_everywhere(multiple, size, tile, overlap):
    size, tile = size * multiple, tile * multiple
    overlap = min(overlap * multiple, tile - multiple)
    total = np.zeros(size)
    for span in spans(size, tile, overlap, multiple):
        assert span.start % multiple == 0
        assert len(span.weight) == min(tile, size)
        assert span.weight.min() >= 0
        total[span.start : span.stop] += span.weight
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_weight_is_zero_at_inner_borders_and_rises_smoothly():
    first, second = spans(160, 96, 32)
    assert first.weight[-8:].max() < 1e-20
    assert second.weight[:8].max() < 1e-20
    assert first.weight[:64].min() == 1
    assert np.abs(np.diff(first.weight)).max() < 0.11


def test_tiles_that_do_not_advance_are_refused():
    with pytest.raises(ShapeError, match="tiles of 32 pixels with an overlap of 32"):
        spans(100, 32, 32)


def test_plan_takes_the_whole_image_when_memory_allows():
    steps = plan(build(STRIDED), 50, 70)
    assert steps.count == 1
    assert steps.multiple == 4
    assert steps.tile == (52, 72)


def test_plan_keeps_to_the_memory():
    net = build(STRIDED)
    budget = 300 * 300 * bytes_per_pixel(net, 4)
    steps = plan(net, 1000, 2000, memory=budget)
    assert steps.count > 1
    assert steps.bytes <= budget
    # As few tiles as that allows, and of equal size.
    assert steps.count == (len(range(0, 1000 - 64, 236))) * len(range(0, 2000 - 64, 236))
    assert plan(net, 1000, 2000, memory=4 * budget).count < steps.count


def test_stride_multiple_is_the_product_of_strides():
    assert stride_multiple(build(STRIDED)) == 4
    assert stride_multiple(build(COPY)) == 1


# Refining


@pytest.mark.parametrize("shape", [(64, 96), (61, 83), (5, 7), (1, 1)])
def test_a_net_that_copies_gives_the_coarse_map_at_the_size_of_the_image(shape):
    coarse = np.random.default_rng(0).dirichlet((1, 1), (6, 9)).transpose(2, 0, 1)
    image = np.zeros((*shape, 3), np.uint8)
    expected = resize_coarse(coarse.astype(np.float32), *shape)
    np.testing.assert_allclose(refine(build(COPY), image, coarse), expected, atol=1e-6)
    if min(shape) > 32:
        tiled = refine(build(COPY), image, coarse, tile=32, overlap=8)
        np.testing.assert_allclose(tiled, expected, atol=1e-6)


def test_whole_image_is_the_net_s_own_result():
    image, coarse = picture(64, 96)
    net = build(STRIDED)
    net.blobs["image"].reshape(1, 3, 64, 96)
    net.blobs["coarse"].reshape(1, 2, 64, 96)
    net.blobs["image"].data[0] = (image.astype(np.float32) - [1, 2, 3]).transpose(2, 0, 1) * 0.5
    net.blobs["coarse"].data[0] = coarse
    expected = net.forward()["prob"][0].copy()
    result = refine(build(STRIDED), image, coarse, mean=(1, 2, 3), scale=0.5)
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_tiled_is_the_whole_where_the_net_sees_less_than_the_overlap():
    image, coarse = picture(150, 203)
    net = build(STRIDED)
    whole = refine(net, image, coarse)
    tiled = refine(net, image, coarse, tile=96, overlap=72)
    np.testing.assert_allclose(tiled, whole, atol=1e-5)
    assert tiled.sum(axis=0) == pytest.approx(1, abs=1e-5)


def test_no_seams_where_propagation_reaches_beyond_the_tile():
    image, coarse = picture(200, 260)
    net = build(SPN)
    net.params["guidance"][0].data[...] = 0
    # Channels go by direction, gate, map; the second gate is that of the pixel straight behind.
    net.params["guidance"][1].data.reshape(4, 3, 2)[:, 1] = 0.8
    whole = refine(net, image, coarse)
    assert np.abs(whole - coarse).max() > 0.2
    difference = refine(net, image, coarse, tile=128, overlap=64) - whole
    assert 0 < np.abs(difference).max() < 1e-3
    for axis in (1, 2):
        assert np.abs(np.diff(difference, axis=axis)).max() < 1e-3


def test_constant_map_stays_constant_over_tiles():
    coarse = np.full((2, 4, 4), [[[0.25]], [[0.75]]], np.float32)
    image = np.full((130, 170, 3), 99, np.uint8)
    result = refine(build(COPY), image, coarse, tile=64, overlap=24)
    np.testing.assert_allclose(result[0], 0.25, atol=1e-6)


def test_progress_counts_tiles():
    image, coarse = picture(100, 100)
    seen = []
    refine(build(COPY), image, coarse, tile=64, overlap=16, progress=lambda *n: seen.append(n))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_restrict_leaves_the_classes_of_the_coarse_map():
    prob = np.full((3, 1, 2), 1 / 3, np.float32)
    prob[:, 0, 1] = [0, 1, 0]
    coarse = np.array([[[0.6]], [[0.1]], [[0.3]]], np.float32)
    result = restrict(prob, coarse)
    np.testing.assert_allclose(result[:, 0, 0], [1, 0, 0])
    # Nothing is left of the only class it believed in.
    np.testing.assert_allclose(result[:, 0, 1], [1, 0, 0])
    image = np.zeros((1, 2, 3), np.uint8)
    net = build(COPY)
    assert refine(net, image, coarse[:2], restrict_to_coarse=True)[1].max() == 0


def test_one_hot_and_labels():
    labels = np.array([[0, 1], [255, 1]], np.uint8)
    prob = one_hot(labels, 2)
    np.testing.assert_array_equal(prob[:, 0, 0], [1, 0])
    np.testing.assert_array_equal(prob[:, 1, 0], [0.5, 0.5])
    with pytest.raises(DataError, match="label 1; the net's 1 classes go from 0 to 0"):
        one_hot(labels, 1)
    coarse = np.random.default_rng(1).random((3, 11, 7), np.float32)
    expected = resize_coarse(coarse, 150, 90).argmax(axis=0)
    np.testing.assert_array_equal(coarse_labels(coarse, 150, 90), expected)


# What is refused


def test_other_inputs_are_refused():
    net = build(
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 } } }'
    )
    with pytest.raises(PrototxtError, match=r"inputs are: 'data' \(1, 3\)"):
        refine(net, np.zeros((8, 8, 3)), np.zeros((2, 4, 4)))


def test_wrong_numbers_of_channels_and_classes_are_refused():
    net = build(COPY)
    with pytest.raises(ShapeError, match=r"image is an array of shape \(8, 8\)"):
        refine(net, np.zeros((8, 8)), np.zeros((2, 4, 4)))
    with pytest.raises(ShapeError, match=r"coarse map is an array of shape \(3, 4, 4\)"):
        refine(net, np.zeros((8, 8, 3)), np.zeros((3, 4, 4)))


def test_a_coarse_map_that_is_not_finite_is_refused():
    with pytest.raises(DataError, match="not finite"):
        refine(build(COPY), np.zeros((8, 8, 3)), np.full((2, 4, 4), np.nan))


def test_a_net_that_changes_the_size_is_refused():
    net = build(
        INPUTS
        + 'layer { name: "prob" type: "Pooling" bottom: "coarse" top: "prob"'
        + " pooling_param { kernel_size: 2 stride: 2 } }"
    )
    with pytest.raises(ShapeError, match=r"output is \(1, 2, 4, 4\) for an input"):
        refine(net, np.zeros((8, 8, 3)), np.zeros((2, 4, 4)))


def test_two_outputs_without_prob_are_refused():
    net = build(
        INPUTS
        + 'layer { name: "a" type: "Power" bottom: "coarse" top: "a" }'
        + 'layer { name: "b" type: "Power" bottom: "image" top: "b" }'
    )
    with pytest.raises(PrototxtError, match="which one has the probabilities"):
        refine(net, np.zeros((8, 8, 3)), np.zeros((2, 4, 4)))


def test_a_tile_within_the_overlap_is_refused():
    image, coarse = picture(100, 100)
    with pytest.raises(ShapeError, match="tiles of 64 pixels do not reach over an overlap of 64"):
        refine(build(STRIDED), image, coarse, tile=64)
