"""The emulated device computes what a GPU would."""

import numpy as np
import pytest

from tests.cuda.emulation.arrays import to_device, to_host

pytestmark = pytest.mark.usefixtures("emulated_only")

SOURCE = "kernels.cu"
THREADS = 256


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def smoothed(x, steps):
    for _ in range(steps):
        padded = np.pad(x, ((0, 0), (1, 1)))
        x = 0.25 * padded[:, :-2] + 0.5 * padded[:, 1:-1] + 0.25 * padded[:, 2:]
    return x


@pytest.mark.sanitized
def test_block_sum_and_dynamic_shared_memory(gpu_in_order, rng):
    gpu = gpu_in_order
    x = rng.standard_normal((7, 300), np.float32)
    x_gpu, y_gpu = to_device(gpu, x), gpu.array(x.shape)
    gpu.launch(SOURCE, "normalize_rows", 7, THREADS, x_gpu, y_gpu, 300, shared=1200)
    expected = x / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    np.testing.assert_allclose(to_host(gpu, y_gpu), expected, rtol=1e-6)


@pytest.mark.parametrize("threads", [32, 96, 1024])
@pytest.mark.parametrize("order", ["forward", "reverse", "shuffled"])
def test_block_sum_has_the_same_bits_in_every_thread_and_order(gpu, rng, threads, order):
    x = rng.standard_normal(threads, np.float32)
    x_gpu, sums = to_device(gpu, x), gpu.array((threads,))
    least = gpu.array((threads,))
    gpu.driver.thread_order = order
    gpu.launch(SOURCE, "block_sums", 1, (threads // 4, 2, 2), x_gpu, sums, least)
    found = to_host(gpu, sums)
    assert found[0] == pytest.approx(x.sum(dtype=np.float64), abs=1e-4)
    assert (found == found[0]).all()
    assert (to_host(gpu, least) == x.max()).all()
    gpu.driver.thread_order = "forward"
    again = gpu.array((threads,))
    gpu.launch(SOURCE, "block_sums", 1, (threads // 4, 2, 2), x_gpu, again, least)
    np.testing.assert_array_equal(to_host(gpu, again), found)


@pytest.mark.sanitized
def test_barriers_between_steps(gpu_in_order, rng):
    gpu = gpu_in_order
    x = rng.standard_normal((3, 256), np.float32)
    x_gpu, y_gpu = to_device(gpu, x), gpu.array(x.shape)
    gpu.launch(SOURCE, "stencil", 3, THREADS, x_gpu, y_gpu, 32)
    expected = smoothed(x.astype(np.float64), 32)
    np.testing.assert_allclose(to_host(gpu, y_gpu), expected, rtol=1e-5, atol=1e-6)


def test_threads_switch_without_assembly_too(gpu, rng):
    """Machines that fiber.h knows no registers of use ucontext."""
    x = rng.standard_normal((2, 256), np.float32)
    x_gpu, y_gpu = to_device(gpu, x), gpu.array(x.shape)
    options = ("-DEMULATION_UCONTEXT",)
    gpu.launch(SOURCE, "stencil", 2, THREADS, x_gpu, y_gpu, 3, options=options)
    expected = smoothed(x.astype(np.float64), 3)
    np.testing.assert_allclose(to_host(gpu, y_gpu), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.sanitized
@pytest.mark.parametrize("blocks", [1, 3, 9])
def test_for_each_visits_every_index_once(gpu_in_order, blocks):
    gpu = gpu_in_order
    count = 1003
    x = np.arange(count, dtype=np.int32)[::-1]
    x_gpu, y_gpu = to_device(gpu, x), to_device(gpu, np.full(count, -1, np.int32))
    gpu.launch(SOURCE, "grid_stride", blocks, THREADS, x_gpu, y_gpu, count)
    indices = np.arange(count)
    np.testing.assert_array_equal(to_host(gpu, y_gpu), np.where(indices % 7 == 0, -1, x + indices))


def test_for_each_does_not_overflow_at_the_largest_count(gpu):
    last = to_device(gpu, np.full(1, -1, np.int32))
    gpu.launch(SOURCE, "last_index", 64, 1024, last, 2**31 - 1)
    assert to_host(gpu, last)[0] == 2**31 - 2


@pytest.mark.sanitized
def test_shuffles_and_votes(gpu_in_order):
    gpu = gpu_in_order
    out = gpu.array((7, 32), np.int32)
    gpu.launch(SOURCE, "warp_functions", 1, 32, out)
    lane = np.arange(32)
    pair_sum = 2 * (lane | 1) - 1
    expected = [
        np.full(32, 5),
        np.where(lane % 8 >= 3, lane - 3, lane),
        np.where(lane % 8 <= 4, lane + 3, lane),
        lane ^ 9,
        np.full(32, sum(1 << i for i in range(0, 32, 3))).astype(np.uint32).astype(np.int32),
        np.where(lane < 16, 4 * pair_sum, pair_sum),
        np.where(lane < 16, 1, 2),
    ]
    np.testing.assert_array_equal(to_host(gpu, out), expected)


@pytest.mark.parametrize(
    ("votes", "expected"),
    [(np.zeros(96), 0), (np.ones(96), 96 * 4 + 3), (np.arange(96) == 40, 5)],
    ids=["none", "all", "one"],
)
def test_votes_of_a_block(gpu_in_order, votes, expected):
    gpu = gpu_in_order
    votes_gpu, out = to_device(gpu, votes.astype(np.int32)), gpu.array((96,), np.int32)
    gpu.launch(SOURCE, "block_votes", 1, 96, votes_gpu, out)
    assert (to_host(gpu, out) == expected).all()


@pytest.mark.sanitized
def test_integer_atomics(gpu_in_order, rng):
    gpu = gpu_in_order
    x = rng.integers(0, 16, 5000, np.int32)
    x_gpu = to_device(gpu, x)
    bins, done = to_device(gpu, np.zeros(16, np.int32)), to_device(gpu, np.zeros(1, np.uint32))
    gpu.launch(SOURCE, "histogram", 4, THREADS, x_gpu, len(x), bins, done)
    np.testing.assert_array_equal(to_host(gpu, bins), np.bincount(x, minlength=16))
    assert to_host(gpu, done)[0] == 4


@pytest.mark.sanitized
def test_vector_loads(gpu, rng):
    x = rng.standard_normal((40, 4), np.float32)
    x_gpu, y_gpu = to_device(gpu, x), gpu.array(x.shape)
    gpu.launch(SOURCE, "copy_vectors", 2, 32, x_gpu, y_gpu, 40)
    np.testing.assert_array_equal(to_host(gpu, y_gpu), x)


def test_functions(gpu):
    """Those whose meaning is CUDA's and not C's."""
    out = gpu.array((16,))
    gpu.launch(SOURCE, "functions", 1, 1, out, float("nan"))
    expected = [3, -2, 0.5, 0, 1, 0, 2**31 - 1, -(2**31), 2, 3, 32, 28, 5, 1, 2, 7]
    np.testing.assert_array_equal(to_host(gpu, out), np.array(expected, np.float32))
