"""Parts of arrays cut out, joined, repeated and added up on the device; kernels and layers."""

import numpy as np
import pytest

from caffe_spn.blob import Blob
from caffe_spn.cuda import copy
from caffe_spn.errors import ShapeError
from caffe_spn.layer import create_layer
from caffe_spn.proto import caffe_pb2, text

RNG = np.random.default_rng(0)

# Sizes along the axis, the axis, and the shape of the rest: vectors of four, odd ones, a piece
# without elements, more pieces than one launch takes.
PIECES = {
    "fours": ([4, 8, 12], 1, (3, 4)),
    "odd": ([1, 2, 4], 1, (2, 3)),
    "first axis": ([2, 3], 0, (4, 1)),
    "last axis": ([3, 1], 2, (2, 5)),
    "odd ends of fours": ([4, 3, 5], 1, (2,)),
    "nothing": ([2, 0, 2], 1, (2, 2)),
    "one": ([5], 1, (2, 2)),
    "nineteen": (list(range(1, 20)), 1, (2, 2)),
}


def random(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def put(gpu, array):
    found = gpu.array(array.shape)
    gpu.upload(found, np.ascontiguousarray(array))
    return found


def fetch(gpu, array):
    found = np.empty(array.shape, array.dtype)
    gpu.download(found, array)
    return found


def whole_of(sizes, axis, rest):
    return random(*rest[:axis], sum(sizes), *rest[axis:])


def split(whole, sizes, axis):
    return np.split(whole, np.cumsum(sizes)[:-1], axis)


@pytest.mark.parametrize("sizes, axis, rest", PIECES.values(), ids=PIECES)
def test_cut(gpu_in_order, sizes, axis, rest):
    gpu, whole = gpu_in_order, whole_of(sizes, axis, rest)
    expected = split(whole, sizes, axis)
    pieces = [gpu.array(e.shape) for e in expected]
    before = gpu.launches
    copy.cut(put(gpu, whole), pieces, sizes, axis)
    assert gpu.launches == before + -(-len(sizes) // 8)
    for piece, e in zip(pieces, expected, strict=True):
        np.testing.assert_array_equal(fetch(gpu, piece), e)


@pytest.mark.parametrize("sizes, axis, rest", PIECES.values(), ids=PIECES)
def test_join(gpu_in_order, sizes, axis, rest):
    gpu, expected = gpu_in_order, whole_of(sizes, axis, rest)
    whole = gpu.array(expected.shape)
    copy.join([put(gpu, p) for p in split(expected, sizes, axis)], whole, sizes, axis)
    np.testing.assert_array_equal(fetch(gpu, whole), expected)


def test_arrays_that_are_not_aligned(gpu):
    whole, pieces = random(2, 8, 4), [gpu.array((32 + 1,)).part(1, (2, 4, 4)) for _ in range(2)]
    copy.cut(put(gpu, whole), pieces, [4, 4], 1)
    np.testing.assert_array_equal(fetch(gpu, pieces[1]), whole[:, 4:])


def test_pieces_that_are_not_wanted(gpu):
    whole = random(2, 6)
    wanted = gpu.array((2, 3))
    copy.cut(put(gpu, whole), [None, wanted, None], [1, 3, 2], 1)
    np.testing.assert_array_equal(fetch(gpu, wanted), whole[:, 1:4])
    before = gpu.launches
    copy.cut(put(gpu, whole), [None, None, None], [1, 3, 2], 1)
    assert gpu.launches == before


@pytest.mark.parametrize("terms", [1, 2, 3, 8, 9, 17])
@pytest.mark.parametrize("shape", [(3, 5), (4, 4), ()])
def test_sums_are_those_of_the_same_order(gpu_in_order, terms, shape):
    gpu, arrays = gpu_in_order, [random(*shape) for _ in range(terms)]
    expected = arrays[0].copy()
    for array in arrays[1:]:
        expected = expected + array
    total = gpu.array(shape)
    copy.add_up([put(gpu, array) for array in arrays], total)
    np.testing.assert_array_equal(fetch(gpu, total), expected)


# The whole, where the part begins, and its shape.
WINDOWS = {
    "plane": ((2, 3, 6, 7), (0, 0, 1, 2), (2, 3, 4, 5)),
    "fours": ((2, 2, 4, 8), (0, 0, 1, 4), (2, 2, 2, 4)),
    "channels": ((2, 5, 3, 4), (0, 1, 0, 0), (2, 3, 3, 4)),
    "all of it": ((2, 3), (0, 0), (2, 3)),
    "one axis": ((7,), (2,), (3,)),
    "none": ((), (), ()),
    "nothing": ((3, 4), (1, 1), (0, 2)),
    "five axes": ((3, 3, 3, 3, 3), (1, 0, 1, 0, 1), (2, 2, 2, 2, 2)),
    "six axes": ((2, 3, 3, 3, 3, 3), (1, 1, 0, 1, 0, 1), (1, 2, 2, 2, 2, 2)),
}


@pytest.mark.parametrize("shape, starts, size", WINDOWS.values(), ids=WINDOWS)
def test_windows(gpu_in_order, shape, starts, size):
    gpu, whole, part = gpu_in_order, random(*shape), random(*size)
    window = tuple(slice(s, s + n) for s, n in zip(starts, size, strict=True))
    found = gpu.array(size)
    copy.cut_window(put(gpu, whole), found, starts)
    np.testing.assert_array_equal(fetch(gpu, found), whole[window])
    target = put(gpu, whole)
    copy.put_window(put(gpu, part), target, starts)
    whole[window] = part
    np.testing.assert_array_equal(fetch(gpu, target), whole)


@pytest.mark.parametrize("outer, inner", [(3, 5), (2, 8), (4, 1)])
@pytest.mark.parametrize("tiles", [1, 3, 11])
def test_tiles(gpu_in_order, outer, inner, tiles):
    gpu, bottom, top_diff = gpu_in_order, random(outer, inner), random(outer, tiles, inner)
    top, bottom_diff = gpu.array(top_diff.shape), gpu.array(bottom.shape)
    copy.tile_forward(put(gpu, bottom), top, tiles, inner)
    np.testing.assert_array_equal(fetch(gpu, top), np.repeat(bottom[:, None], tiles, axis=1))
    copy.tile_backward(put(gpu, top_diff), bottom_diff, tiles, inner)
    np.testing.assert_allclose(fetch(gpu, bottom_diff), top_diff.sum(axis=1), rtol=1e-5, atol=1e-6)


@pytest.mark.sanitized
@pytest.mark.parametrize("inner", [3, 4])
def test_every_kernel(gpu, inner):
    whole = random(2, 11, inner)
    pieces = [gpu.array((2, size, inner)) for size in (1, 8, 2)]
    copy.cut(put(gpu, whole), pieces, [1, 8, 2], 1)
    joined = gpu.array(whole.shape)
    copy.join(pieces, joined, [1, 8, 2], 1)
    part = gpu.array((2, 6, inner))
    copy.cut_window(joined, part, (0, 3, 0))
    copy.add_up([part, part, part], part)
    copy.put_window(part, joined, (0, 3, 0))
    whole[:, 3:9] *= 3
    np.testing.assert_array_equal(fetch(gpu, joined), whole)
    tiles, summed = gpu.array((2, 2, 11, inner)), gpu.array(whole.shape)
    copy.tile_forward(joined, tiles, 2, 11 * inner)
    copy.tile_backward(tiles, summed, 2, 11 * inner)
    np.testing.assert_array_equal(fetch(gpu, summed), 2 * whole)


def test_what_does_not_fit_is_refused(gpu):
    a, b = gpu.array((2, 3)), gpu.array((2, 4))
    with pytest.raises(ShapeError, match=r"pieces of \[1, 3\] do not make up axis 1 of \(2, 3\)"):
        copy.cut(a, [b, b], [1, 3], 1)
    with pytest.raises(ShapeError, match=r"piece is .*it must have 2 elements"):
        copy.join([b, b], a, [1, 2], 1)
    with pytest.raises(ShapeError, match=r"add_up: term1 is .*6 elements"):
        copy.add_up([a, b], a)
    with pytest.raises(ShapeError, match=r"cut_window: \(2, 3\) from \(0, 2\) on is not in"):
        copy.cut_window(b, a, (0, 2))
    with pytest.raises(ShapeError, match=r"tile_forward: top is .*it must have 12"):
        copy.tile_forward(a, b, 2, 1)


# The layers: on the device as on the host, and nothing copied between the two

LAYERS = {
    "Concat": ("type: 'Concat'", [(2, 1, 3), (2, 4, 3)], 1),
    "Concat, last axis": ("type: 'Concat' concat_param { axis: -1 }", [(2, 1), (2, 4)], 1),
    "Concat, one": ("type: 'Concat'", [(2, 1, 3)], 1),
    "Slice": ("type: 'Slice'", [(2, 12, 4)], 3),
    "Slice, points": ("type: 'Slice' slice_param { slice_point: 2 }", [(2, 5, 3)], 2),
    "Slice, one": ("type: 'Slice'", [(2, 5, 3)], 1),
    "Slice, twelve": ("type: 'Slice'", [(1, 24, 2, 2)], 12),
    "Split": ("type: 'Split'", [(2, 3)], 3),
    "Crop": ("type: 'Crop' crop_param { offset: 1 }", [(2, 3, 6, 7), (1, 1, 4, 5)], 1),
    "Reshape": ("type: 'Reshape' reshape_param { shape { dim: -1 } }", [(2, 3)], 1),
    "Flatten": ("type: 'Flatten'", [(2, 3, 4)], 1),
    "Silence": ("type: 'Silence'", [(2, 3), (4,)], 0),
    "Tile": ("type: 'Tile' tile_param { tiles: 3 }", [(2, 2, 5)], 1),
}


def made(definition, shapes, tops):
    layer = create_layer(text.parse(definition, caffe_pb2.LayerParameter()))
    bottom, top = [Blob(shape) for shape in shapes], [Blob() for _ in range(tops)]
    layer.setup(bottom, top)
    layer.reshape(bottom, top)
    return layer, bottom, top


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("definition, shapes, tops", LAYERS.values(), ids=LAYERS)
def test_layers(gpu, definition, shapes, tops, wanted):
    values = [random(*shape) for shape in shapes]
    results, top_diffs = [], None
    for device in ("cpu", "gpu"):
        layer, bottom, top = made(definition, shapes, tops)
        top_diffs = top_diffs or [random(*t.shape) for t in top]
        for blob, value in zip(bottom, values, strict=True):
            give(gpu, device, blob, "data", value)
            give(gpu, device, blob, "diff", np.full_like(value, 9))
        transfers = gpu.uploads, gpu.downloads
        getattr(layer, f"forward_{device}")(bottom, top)
        for blob, value in zip(top, top_diffs, strict=True):
            give(gpu, device, blob, "diff", value)
        propagate_down = [wanted] + [True] * (len(bottom) - 1)
        getattr(layer, f"backward_{device}")(top, propagate_down, bottom)
        assert (gpu.uploads, gpu.downloads) == transfers
        results.append([t.data.copy() for t in top] + [b.diff.copy() for b in bottom])
    for expected, found in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def give(gpu, device, blob, part, value):
    """Write into a blob on the host, or on the device as a kernel would."""
    if device == "cpu":
        getattr(blob, part)[...] = value
    else:
        gpu.driver.to_device(getattr(blob, f"new_gpu_{part}").address, value)
