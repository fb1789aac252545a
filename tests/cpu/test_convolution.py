import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_spn import cpu
from caffe_spn.cpu import convolution, convolution_plan
from caffe_spn.cpu.convolution_geometry import Geometry

square = Geometry.square


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def expected_forward(x, w, bias, geometry):
    """The definition, one multiplication at a time."""
    batch, outputs = len(x), len(w)
    spatial = x.shape[2:]
    y = np.zeros((batch, outputs, *geometry.output_shape(spatial)))
    group_outputs = outputs // geometry.group
    for n, k, *place in np.ndindex(*y.shape):
        total = float(bias[k])
        for c, *offset in np.ndindex(*w.shape[1:]):
            at = [
                p * s - pad + o * d
                for p, s, pad, o, d in zip(
                    place, geometry.stride, geometry.pad, offset, geometry.dilation, strict=True
                )
            ]
            if all(0 <= i < size for i, size in zip(at, spatial, strict=True)):
                channel = k // group_outputs * w.shape[1] + c
                total += float(w[(k, c, *offset)]) * float(x[(n, channel, *at)])
        y[(n, k, *place)] = total
    return y


class Case:
    """Arrays for all passes of one convolution."""

    def __init__(self, x_shape, outputs, geometry, dtype=np.float32, seed=0):
        channels = x_shape[1]
        out = (x_shape[0], outputs, *geometry.output_shape(x_shape[2:]))
        self.geometry = geometry
        self.x = normal(*x_shape, seed=seed).astype(dtype)
        self.w = normal(outputs, channels // geometry.group, *geometry.kernel, seed=seed + 1)
        self.w = self.w.astype(dtype)
        self.bias = normal(outputs, seed=seed + 2).astype(dtype)
        self.x_bias = normal(channels, seed=seed + 3).astype(dtype)
        self.y_diff = normal(*out, seed=seed + 4).astype(dtype)

    def kernel(self):
        return convolution.choose(self.geometry, self.x, self.w, self.y_diff)

    def run(self):
        """The results of all passes; overwritten ones start as NaN, added ones as 1."""
        y = np.full_like(self.y_diff, np.nan)
        x_diff = np.full_like(self.x, np.nan)
        w_diff, bias_diff = np.ones_like(self.w), np.ones_like(self.bias)
        g = self.geometry
        convolution.forward(self.x, self.w, self.bias, y, g)
        convolution.backward_data(self.y_diff, self.w, self.x_bias, x_diff, g)
        convolution.backward_weights(self.y_diff, self.x, w_diff, g)
        convolution.backward_bias(self.y_diff, bias_diff)
        return {"y": y, "x_diff": x_diff, "w_diff": w_diff, "bias_diff": bias_diff}

    def double(self):
        twin = object.__new__(Case)
        for name, value in vars(self).items():
            is_array = isinstance(value, np.ndarray)
            setattr(twin, name, value.astype(np.float64) if is_array else value)
        return twin


def assert_same(got, wanted):
    for name, value in wanted.items():
        scale = max(1.0, np.abs(value).max(initial=0))
        np.testing.assert_allclose(got[name], value, 0, 1e-5 * scale, err_msg=name)


SMALL = {
    "plain": ((2, 3, 5, 4), 2, square(3, pad=1)),
    "strided": ((1, 2, 7, 6), 3, Geometry((3, 2), (2, 3), (1, 0), (1, 2))),
    "grouped": ((2, 4, 3, 5), 6, square(2, group=2)),
    "depthwise": ((2, 3, 5, 4), 6, square(3, stride=2, pad=2, group=3)),
    "pixel": ((1, 1, 1, 1), 1, square(1)),
    "line": ((2, 2, 6), 3, Geometry((3,), (2,), (1,), (1,))),
    "volume": ((1, 2, 3, 4, 3), 2, Geometry((2, 3, 1), (1, 2, 1), (1, 0, 0), (1, 1, 2))),
    "no axes": ((3, 4), 2, Geometry((), (), (), ())),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SMALL.values(), ids=SMALL)
def test_forward_is_the_definition(shape, dtype):
    case = Case(*shape, dtype)
    wanted = expected_forward(case.x, case.w, case.bias, case.geometry)
    np.testing.assert_allclose(case.run()["y"], wanted, 0, 1e-5)


@pytest.mark.parametrize("shape", SMALL.values(), ids=SMALL)
def test_backward_is_the_transpose(shape):
    # <y_diff, conv(x)> is linear in x and in w: each derivative gives it back.
    case = Case(*shape, np.float64)
    wanted = np.vdot(case.y_diff, expected_forward(case.x, case.w, 0 * case.bias, case.geometry))
    case.x_bias[:] = 0
    got = case.run()
    assert np.vdot(case.x, got["x_diff"]) == pytest.approx(wanted)
    assert np.vdot(case.w, got["w_diff"] - 1) == pytest.approx(wanted)
    sums = case.y_diff.sum(axis=(0, *range(2, case.y_diff.ndim)))
    np.testing.assert_allclose(got["bias_diff"] - 1, sums)


# Shapes for each kernel: several tiles and panels, images that share a tile, odd sizes.
FAST = {
    "panels of rows": ("panels", (2, 5, 40, 33), 7, square(5, pad=2)),
    "panels of images": ("panels", (5, 6, 7, 5), 9, square(4, stride=2, pad=1)),
    "many channels": ("panels", (3, 300, 6, 6), 20, square(5, pad=2)),
    "split weights": ("panels", (4, 3, 30, 30), 8, square(3, pad=1)),
    "pointwise": ("panels", (3, 20, 20, 15), 33, square(1)),
    "dilated": ("panels", (2, 8, 17, 9), 12, square(3, pad=2, dilation=2)),
    "groups": ("panels", (2, 12, 9, 11), 18, square(3, pad=1, group=3)),
    "line": ("panels", (2, 9, 301), 5, Geometry((7,), (3,), (2,), (1,))),
    "wide padding": ("panels", (1, 2, 4, 4), 3, square(2, stride=3, pad=5)),
    "winograd": ("winograd", (3, 17, 12, 13), 19, square(3, pad=1)),
    "winograd, no padding": ("winograd", (1, 16, 5, 8), 8, square(3)),
    "winograd, one pixel": ("winograd", (2, 16, 1, 1), 16, square(3, pad=1)),
    "winograd, unequal": ("winograd", (2, 16, 6, 5), 24, Geometry((3, 3), (1, 1), (0, 2), (1, 1))),
    "winograd, rounds": ("winograd", (2, 48, 70, 90), 64, square(3, pad=1)),
    "bilinear": ("depthwise", (2, 6, 14, 11), 6, square(4, stride=2, pad=1, group=6)),
    "depthwise": ("depthwise", (2, 4, 9, 20), 8, Geometry((3, 5), (1, 3), (1, 2), (2, 1), 4)),
    "depthwise, odd pad": ("depthwise", (1, 3, 6, 8), 3, square(6, stride=2, pad=3, group=3)),
}


@pytest.mark.skipif(not cpu.compiled(), reason="Numba is not installed")
@pytest.mark.parametrize("case", FAST.values(), ids=FAST)
def test_fast_kernels_equal_numpy(case):
    kernel, *shape = case
    case = Case(*shape)
    assert case.kernel() == kernel
    assert_same(case.run(), case.double().run())


@st.composite
def cases(draw):
    small = st.integers(1, 4)
    group = draw(st.integers(1, 3))
    pairs = [tuple(draw(st.tuples(small, small))) for _ in range(3)]
    geometry = Geometry(*pairs[:2], draw(st.tuples(*[st.integers(0, 3)] * 2)), pairs[2], group)
    need = [
        max(1, d * (k - 1) + 1 - 2 * p)
        for k, p, d in zip(geometry.kernel, geometry.pad, geometry.dilation, strict=True)
    ]
    size = [n + draw(st.integers(0, 20)) for n in need]
    x_shape = (draw(small), group * draw(small), *size)
    return Case(x_shape, group * draw(small), geometry, seed=draw(st.integers(0, 99)))


@settings(max_examples=150, deadline=None)
@given(cases())
def test_any_shape_equals_numpy(case):
    assert_same(case.run(), case.double().run())


def test_numpy_takes_over_without_blas(monkeypatch):
    blas = pytest.importorskip("caffe_spn.cpu.blas")
    case = Case((2, 3, 8, 9), 4, square(3))
    assert case.kernel() == "panels"
    wanted = case.run()
    monkeypatch.setattr(blas, "sgemm_address", lambda: 0)
    assert case.kernel() == "numpy"
    assert_same(case.run(), wanted)


def test_numpy_takes_over_without_numba(monkeypatch):
    monkeypatch.setattr(cpu, "compiled", lambda: False)
    case = Case((2, 3, 8, 9), 3, square(3, group=3))
    assert case.kernel() == "numpy"
    assert_same(case.run(), case.double().run())


@pytest.mark.parametrize("kernel", ["panels", "winograd", "depthwise"])
def test_nan_propagates(kernel):
    shape = {
        "panels": ((2, 4, 9, 9), 5, square(3, pad=1)),
        "winograd": ((2, 16, 9, 9), 16, square(3, pad=1)),
        "depthwise": ((2, 4, 9, 9), 4, square(3, pad=1, group=4)),
    }[kernel]
    case = Case(*shape)
    case.x[0, 1, 4, 4] = np.nan
    y = case.run()["y"]
    assert np.isnan(y[0, 1, 3:6, 3:6]).all()
    assert not np.isnan(y[1]).any()
    # Winograd computes tiles of 2x2 from 4x4 pixels; further than that a NaN never reaches.
    assert not np.isnan(y[0, :, 7:]).any()


def test_work_space_is_taken_once():
    scratch = pytest.importorskip("caffe_spn.cpu.scratch")
    cases = [Case(shape[1], shape[2], shape[3]) for shape in FAST.values()]
    for case in cases:
        case.run()
    before = scratch.nbytes()
    for case in cases:
        case.run()
    assert scratch.nbytes() == before > 0
    scratch.release()
    assert scratch.nbytes() == 0


@pytest.mark.parametrize("threads", [1, 2, 5, 16])
@pytest.mark.parametrize("shape", [(10, 64, 8, 8), (1, 512, 4, 4), (3, 3, 128, 96), (40, 2, 3, 1)])
@pytest.mark.parametrize("group", [1, 2])
def test_plans_are_within_bounds(shape, group, threads):
    batch, outputs, height, width = shape
    x_shape, weights = (batch, 2 * group, height, width), (outputs, 2, 3, 3)
    forward, scatter, weight = (
        make(x_shape, weights, shape, group, threads)
        for make in (
            convolution_plan.plan_forward,
            convolution_plan.plan_scatter,
            convolution_plan.plan_weights,
        )
    )
    for plan in (forward, scatter, weight):
        assert 1 <= plan.rows <= height
        assert 1 <= plan.images <= batch
        assert 1 <= plan.channels <= 2
        assert plan.positions == plan.rows * plan.images * width
    assert 1 <= forward.outputs <= outputs // group
    # No thread is idle while there is something to share out.
    assert forward.tasks >= min(threads, batch * outputs)
    assert scatter.tasks >= min(threads, batch * group * 2)
    assert 1 <= weight.splits <= threads


def test_numpy_accepts_an_empty_batch():
    case = Case((0, 3, 5, 5), 4, square(3))
    assert case.kernel() == "numpy"
    got = case.run()
    assert got["y"].shape == (0, 4, 3, 3)
    assert (got["w_diff"] == 1).all()


def test_geometry():
    geometry = Geometry((3, 4), (1, 2), (1, 0), (2, 1))
    assert geometry.output_shape((8, 9)) == (6, 3)
    assert geometry.output_shape((8, 3)) == (6, 1)  # as C++ divides -1 by 2
    assert geometry.margins((8, 3), (6, 1)) == [(1, 1), (0, 1)]
    assert geometry.transposed_shape((6, 3)) == (8, 8)
    assert Geometry((3,), (2,), (1,), (1,)).planar() == Geometry((1, 3), (1, 2), (0, 1), (1, 1))
