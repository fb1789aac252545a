"""The kernels of convolution against plain NumPy: im2col, its adjoint, and depthwise."""

import itertools

import numpy as np
import pytest

from caffe_spn.cpu import convolution_numpy
from caffe_spn.cpu.convolution_geometry import Geometry
from caffe_spn.cuda import depthwise, im2col
from caffe_spn.cuda.im2col import Window
from caffe_spn.errors import ShapeError
from caffe_spn.layers import im2col as im2col_layer
from tests.cuda.arrays import down, empty, normal, up

# A batch with channels, and how the kernel moves.
PLANAR = {
    "one pixel": ((1, 1, 1, 1), Geometry.square(1)),
    "3x3": ((2, 3, 5, 7), Geometry.square(3, pad=1)),
    "stride 2, kernel 4": ((2, 2, 6, 4), Geometry.square(4, 2, 1)),
    "the same on odd sizes": ((2, 2, 7, 5), Geometry.square(4, 2, 1)),
    "the same with other pads": ((1, 2, 4, 6), Geometry((4, 4), (2, 2), (0, 3), (1, 1))),
    "stride beyond the kernel": ((1, 2, 9, 8), Geometry.square(2, 3)),
    "dilation": ((1, 2, 7, 9), Geometry.square(3, 2, 2, 3)),
    "mixed": ((2, 2, 4, 9), Geometry((1, 3), (2, 1), (0, 2), (1, 2))),
    "beyond the edge": ((2, 1, 2, 6), Geometry.square(3, 2)),
}
OTHER = {
    "no axis": ((3, 4), Geometry((), (), (), ())),
    "one axis": ((2, 3, 7), Geometry((3,), (2,), (1,), (2,))),
    "three axes": ((2, 2, 3, 4, 5), Geometry((2, 1, 3), (1, 2, 2), (1, 0, 1), (1, 1, 1))),
    "four axes": ((1, 2, 2, 3, 3, 2), Geometry((2, 2, 1, 2), (1,) * 4, (0, 1, 0, 1), (1,) * 4)),
}
ALL = PLANAR | OTHER


def columns_of(x, geometry):
    """(C, offsets, N, positions)"""
    out = geometry.output_shape(x.shape[2:])
    columns = np.empty((*x.shape[:2], int(np.prod(geometry.kernel)), *out), x.dtype)
    im2col_layer.im2col(x, columns, geometry)
    return columns.reshape(*columns.shape[:3], -1).transpose(1, 2, 0, 3)


def part(window, columns):
    """The window's columns as a matrix."""
    chosen = columns[..., window.first : window.first + window.positions]
    return np.ascontiguousarray(chosen).reshape(chosen.shape[0] * chosen.shape[1], -1)


def windows(x, geometry):
    """All positions, and all but the first and the last."""
    spatial = x.shape[2:]
    out = geometry.output_shape(spatial)
    whole = Window(geometry, spatial, out)
    yield whole
    if whole.positions > 2:
        yield Window(geometry, spatial, out, 1, whole.positions - 2)


@pytest.mark.parametrize("case", ALL.values(), ids=ALL)
def test_im2col(gpu_in_order, case):
    x = normal(*case[0])
    for window in windows(x, case[1]):
        wanted = part(window, columns_of(x, case[1]))
        columns = empty(wanted.shape)
        im2col.im2col(up(x), columns, window)
        np.testing.assert_array_equal(down(columns), wanted)


@pytest.mark.parametrize("case", ALL.values(), ids=ALL)
def test_col2im_is_the_adjoint(gpu_in_order, case):
    shape, geometry = case
    for window in windows(normal(*shape), geometry):
        columns = normal(*part(window, columns_of(normal(*shape), geometry)).shape)
        x = empty(shape)
        im2col.col2im(up(columns), x, window)
        # <col2im(columns), e> = <columns, im2col(e)> for every unit vector e.
        wanted = np.empty(shape, np.float32)
        for i in np.ndindex(*shape):
            unit = np.zeros(shape, np.float32)
            unit[i] = 1
            wanted[i] = (columns * part(window, columns_of(unit, geometry))).sum()
        np.testing.assert_allclose(down(x), wanted, 1e-5, 1e-5)
        im2col.col2im(up(columns), x, window, add=True)
        np.testing.assert_allclose(down(x), 2 * wanted, 1e-5, 2e-5)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 5), (2, 7, 1)])
def test_swap_axes(gpu, shape):
    x = normal(*shape)
    target = empty((shape[1], shape[0], shape[2]))
    im2col.swap_axes(up(x), target)
    np.testing.assert_array_equal(down(target), x.swapaxes(0, 1))


def grouped(case, repeat):
    """x, w, y_diff and the geometry of a depthwise convolution."""
    shape, g = case
    geometry = Geometry(g.kernel, g.stride, g.pad, g.dilation, shape[1])
    x = normal(*shape)
    w = normal(shape[1] * repeat, 1, *g.kernel, seed=1)
    y = normal(shape[0], len(w), *g.output_shape(shape[2:]), seed=2)
    return x, w, y, geometry


DEPTHWISE = [
    pytest.param(case, repeat, id=f"{name}, {repeat}")
    for (name, case), repeat in itertools.product(PLANAR.items(), (1, 2))
]


@pytest.mark.parametrize(("case", "repeat"), DEPTHWISE)
def test_depthwise_forward(gpu_in_order, case, repeat):
    x, w, y, geometry = grouped(case, repeat)
    got = empty(y.shape)
    depthwise.forward(up(x), up(w), got, geometry)
    convolution_numpy.forward(x, w, None, y, geometry)
    np.testing.assert_allclose(down(got), y, 1e-5, 1e-5)


@pytest.mark.parametrize(("case", "repeat"), DEPTHWISE)
def test_depthwise_backward_data(gpu_in_order, case, repeat):
    x, w, y_diff, geometry = grouped(case, repeat)
    got = empty(x.shape)
    depthwise.backward_data(up(y_diff), up(w), got, geometry)
    convolution_numpy.backward_data(y_diff, w, None, x, geometry)
    np.testing.assert_allclose(down(got), x, 1e-5, 1e-5)


@pytest.mark.parametrize(("case", "repeat"), DEPTHWISE)
def test_depthwise_backward_weights_adds(gpu_in_order, case, repeat):
    x, w, y_diff, geometry = grouped(case, repeat)
    got = up(w)
    depthwise.backward_weights(up(y_diff), up(x), got, geometry)
    convolution_numpy.backward_weights(y_diff, x, w, geometry)
    np.testing.assert_allclose(down(got), w, 1e-5, 1e-4)


def test_shapes_are_checked(gpu):
    window = Window(Geometry.square(3), (5, 5), (3, 3))
    x = up(normal(1, 2, 5, 5))
    with pytest.raises(ShapeError, match=r"columns \(18, 8\); with 9 of 9 .* and \(18, 9\)"):
        im2col.im2col(x, empty((18, 8)), window)
    with pytest.raises(ShapeError, match="with 9 of 9 positions from 1 on"):
        late = Window(window.geometry, (5, 5), (3, 3), 1, 9)
        im2col.im2col(x, empty((18, 9)), late)
    with pytest.raises(ShapeError, match="5 spatial axes; 4 is the most"):
        five = (1,) * 5
        many = Window(Geometry(five, five, (0,) * 5, five), five, five)
        im2col.im2col(empty((1, 1, *five)), empty((1, 1)), many)
    with pytest.raises(ShapeError, match=r"target is \(2, 3, 1\); it must be \(3, 2, 1\)"):
        im2col.swap_axes(empty((2, 3, 1)), empty((2, 3, 1)))
    with pytest.raises(ShapeError, match="as many groups as x has channels"):
        depthwise.forward(x, empty((2, 1, 3, 3)), empty((1, 2, 3, 3)), Geometry.square(3))
