import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn.cuda import pooling
from caffe_spn.errors import PrototxtError, ShapeError
from tests import golden_cases
from tests.cuda import both_devices
from tests.layers.running import TEST, Run, normal


def pool(kind, param):
    return f'type: "Pooling" pooling_param {{ pool: {kind} {param} }}'


# Windows of each kind of kernel: 2 x 2, 3 x 3, any, and so large that a warp works on one.
WINDOWS = {
    "halves": "kernel_size: 2 stride: 2",
    "overlapping": "kernel_size: 3 stride: 2",
    "padded": "kernel_size: 3 stride: 2 pad: 1",
    "all_places": "kernel_size: 3 stride: 1 pad: 1",
    "odd": "kernel_h: 1 kernel_w: 4 stride_h: 3 stride_w: 2",
    "thrice": "kernel_size: 5 stride: 3 pad: 2",
    "gaps": "kernel_size: 1 stride: 3",
    "floor": "kernel_size: 2 stride: 2 round_mode: FLOOR",
    "wide": "kernel_h: 6 kernel_w: 7 stride: 6 pad: 3",
    "global": "global_pooling: true",
}
SHAPES = {"one": (1, 1, 7, 9), "batch": (2, 3, 11, 8), "large": (1, 2, 40, 37)}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
@pytest.mark.parametrize("kind", ["MAX", "AVE"])
def test_as_on_the_cpu(gpu, kind, window, shape):
    both_devices.compare(gpu, pool(kind, window), normal(*shape))


@pytest.mark.sanitized
@pytest.mark.parametrize("window", ["overlapping", "thrice", "wide"])
@pytest.mark.parametrize("kind", ["MAX", "AVE"])
def test_in_any_order(gpu_in_order, kind, window):
    both_devices.compare(gpu_in_order, pool(kind, WINDOWS[window]), normal(2, 3, 11, 8))


@pytest.mark.parametrize("window", ["padded", "thrice", "wide", "global"])
def test_mask_and_ties(gpu, window):
    # Few different numbers: of equal ones the first counts, for the mask and the gradient.
    x = np.random.default_rng(0).integers(0, 2, (2, 2, 13, 12))
    both_devices.compare(gpu, pool("MAX", WINDOWS[window]), x, tops=2)


@pytest.mark.parametrize("window", ["overlapping", "thrice", "wide"])
def test_nan_and_infinities_are_not_pooled_away(gpu, window):
    x = normal(1, 2, 12, 12)
    x[0, 0, 3, 3] = x[0, 0, 9, 10] = x[0, 0, 9, 11] = np.nan
    x[0, 0, 6, :] = np.inf
    x[0, 1] = -np.inf
    both_devices.compare(gpu, pool("MAX", WINDOWS[window]), x, tops=2)
    both_devices.compare(gpu, pool("AVE", WINDOWS[window]), x)


@pytest.mark.parametrize("window", ["overlapping", "wide"])
def test_without_backward_no_mask_is_kept(gpu, window):
    x = normal(2, 3, 11, 8)
    caffe.set_mode_gpu()
    run = Run(pool("MAX", WINDOWS[window]), x)
    want = run.out.copy()
    other = Run(pool("MAX", WINDOWS[window]), np.zeros_like(x))
    other.layer.needs_backward = False
    other.layer._gpu_workspaces.clear()
    other.bottom[0].data[...] = x
    other.forward()
    assert not other.layer._gpu_workspaces
    np.testing.assert_array_equal(other.out, want)


@pytest.mark.sanitized
@pytest.mark.parametrize(
    ("height", "width", "dtype"), [(15, 17, np.uint8), (16, 16, np.int32), (1, 300, np.int32)]
)
@pytest.mark.parametrize("stride", [1, 20], ids=["thread", "warp"])
def test_windows_about_as_large_as_a_byte_can_say(gpu_in_order, height, width, dtype, stride):
    # Ascending values: each window's last pixel is its largest. A row of lowest ones has none.
    x = np.arange(2 * 40 * 340, dtype=np.float32).reshape(1, 2, 40, 340)
    x[0, 0, :height] = -np.inf
    definition = pool("MAX", f"kernel_h: {height} kernel_w: {width} stride: {stride}")
    made = both_devices.compare(gpu_in_order, definition, x, tops=2)
    assert (made.top[1].data[0, 0, 0] == -1).all()
    assert made.top[1].data[0, 1, 0, 0] == (height - 1) * 340 + width - 1
    (_, mask) = made.layer._gpu_workspaces["mask"]
    assert mask.dtype == dtype


def test_no_maps(gpu):
    both_devices.compare(gpu, pool("MAX", WINDOWS["halves"]), np.zeros((0, 3, 4, 4)))


@pytest.mark.parametrize("window", ["thrice", "wide"])
@pytest.mark.parametrize("kind", ["MAX", "AVE"])
def test_equal_in_bits(gpu, kind, window):
    layer, x = pool(kind, WINDOWS[window]), normal(2, 3, 17, 15)
    (top,), _, _ = both_devices.run(gpu, layer, x)
    both_devices.equal_in_bits(gpu, layer, x, top_diffs=[normal(*top.shape)])


# STOCHASTIC draws other pixels than the CPU does.

STOCHASTIC = pool("STOCHASTIC", "kernel_size: 3 stride: 2")


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("window", ["halves", "overlapping", "odd", "global"])
def test_stochastic_expectation(gpu, window, shape):
    x = np.maximum(normal(*shape), 0)
    x[0, 0, :5, :5] = 0
    definition = pool("STOCHASTIC", WINDOWS[window])
    both_devices.compare(gpu, definition, x, phase=TEST, gradient=False)


@pytest.mark.sanitized
def test_stochastic_draws_pixels_of_the_window(gpu_in_order):
    x = np.arange(2 * 3 * 11 * 8, dtype=np.float32).reshape(2, 3, 11, 8) + 1
    (y,), (diff,), _ = both_devices.run(
        gpu_in_order, STOCHASTIC, x, top_diffs=[np.ones((2, 3, 5, 4))]
    )
    want = np.zeros_like(x)
    for n, c, r, q in np.ndindex(y.shape):
        window = x[n, c, 2 * r : 2 * r + 3, 2 * q : 2 * q + 3]
        assert y[n, c, r, q] in window
        want[n, c][x[n, c] == y[n, c, r, q]] += 1
    np.testing.assert_array_equal(diff, want)


def test_stochastic_probabilities(gpu):
    x = np.tile(np.array([[1, 2], [0, 5]], np.float32), (40, 50))
    (y,), _, _ = both_devices.run(gpu, pool("STOCHASTIC", WINDOWS["halves"]), x[None, None])
    shares = [(y == value).mean() for value in (0, 1, 2, 5)]
    np.testing.assert_allclose(shares, [0, 1 / 8, 2 / 8, 5 / 8], atol=0.03)


def test_stochastic_goes_on_after_a_snapshot(gpu):
    x = normal(2, 3, 11, 8) ** 2
    caffe.set_mode_gpu()
    run = Run(STOCHASTIC, x)
    first = run.out.copy()
    state = run.layer.state()
    run.forward()
    want = run.out.copy()
    assert (want != first).any()
    other = Run(STOCHASTIC, x)
    other.layer.restore_state(state)
    other.forward()
    np.testing.assert_array_equal(other.out, want)


def test_stochastic_expectation_has_no_gradient(gpu):
    caffe.set_mode_gpu()
    run = Run(STOCHASTIC, np.ones((1, 1, 5, 5)), phase=TEST)
    with pytest.raises(PrototxtError, match="no gradient in the TEST phase"):
        run.backward(1)


def test_shapes_must_fit(gpu):
    x, y = gpu.array((2, 4, 4)), gpu.array((3, 2, 2))
    with pytest.raises(ShapeError, match=r"\(2, 4, 4\) and \(3, 2, 2\)"):
        pooling.average_forward(x, y, (2, 2, 2, 2, 0, 0))
    mask = gpu.array((3, 2, 2))
    with pytest.raises(ShapeError, match=r"mask is .* 12 elements of uint8"):
        pooling.max_forward(gpu.array((3, 4, 4)), y, mask, None, (2, 2, 2, 2, 0, 0))


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("Pooling",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path, gpu):
    both_devices.run_golden(gpu, case, tmp_path)
