"""Faults that are planted in kernels (faults.cu), and what the emulated device says of each."""

import re

import numpy as np
import pytest

from tests.cuda.emulation.arrays import to_device, to_host
from tests.cuda.emulation.build import EmulationError

pytestmark = pytest.mark.usefixtures("emulated_only")

SOURCE = "faults.cu"
THREADS = 64

BARRIERS = {
    "some_return_before_the_barrier": r"deadlock: 40 threads wait and 24 have returned; .* waits at"
    r" __syncthreads \(faults.cu:\d+\); block \(0, 0, 0\)",
    "one_more_barrier": r"deadlock: 32 threads wait and 32 have returned",
    "divergent_barrier": r"divergent barrier: lanes of one warp meet at __syncthreads in"
    r" faults.cu:\d+ and in faults.cu:\d+",
    "different_barriers": r"threads meet at different barriers: __syncthreads_\w+ .* and"
    r" __syncthreads_\w+",
}
WARPS = {
    "mask_of_absent_lanes": r"deadlock: 16 threads wait|names lane \d+, which has returned",
    "mask_beyond_the_block": r"names lane 16, which the block does not have",
    "lane_outside_its_mask": r"lane \d+ is not in its own mask 0000ffff",
    "source_outside_the_mask": r"lane \d+ reads lane \d+, which is not in mask 0000ffff",
    "different_masks": r"mask \w{8}, while other lanes of it wait with mask \w{8}"
    r"|names lane \d+, which has returned",
}
MEMORY = {
    "writes_outside_shared": r"an index out of the bounds of its array in faults.cu:\d+",
    "writes_outside_dynamic_shared": r"byte 256 of 256 bytes of dynamic shared memory was written",
    "writes_outside_its_array": r"wrote outside an array of 256 bytes: at byte 256",
    "writes_before_its_array": r"wrote outside an array of 256 bytes: at byte -4",
    "wild_address": r"an address that is not in memory: 0x1234567890",
    "misaligned_vector": r"a misaligned address in faults.cu:\d+",
    "asserts": r"assert\(threadIdx.x < 63\) in faults.cu:\d+",
}


@pytest.mark.parametrize("order", ["forward", "reverse", "shuffled"])
@pytest.mark.parametrize("kernel", [*BARRIERS, *WARPS, *MEMORY])
def test_a_fault_is_found_in_every_order(gpu, kernel, order):
    gpu.driver.thread_order = order
    threads = 16 if kernel == "mask_beyond_the_block" else THREADS
    with pytest.raises(EmulationError) as caught:
        gpu.launch(SOURCE, kernel, 1, threads, gpu.array((THREADS,)), shared=4 * THREADS)
    assert f"faults.cu: {kernel}" in str(caught.value)
    assert re.search((BARRIERS | WARPS | MEMORY)[kernel], str(caught.value))


def test_a_null_address_is_found(gpu):
    with pytest.raises(EmulationError, match=r"a null address in faults.cu:\d+"):
        gpu.launch(SOURCE, "null_address", 1, 1, None)


@pytest.mark.parametrize(
    ("kernel", "value", "message"),
    [
        ("divides_by_zero", 0, "a division of integers by zero"),
        ("overflows", 100_000, "an overflow of a product of signed integers"),
        ("shifts", 32, "a shift by too many bits"),
    ],
)
def test_integer_arithmetic_without_a_result_is_found(gpu, kernel, value, message):
    with pytest.raises(EmulationError, match=message):
        gpu.launch(SOURCE, kernel, 1, 1, to_device(gpu, np.ones(1, np.int32)), value)


def test_too_many_local_variables_are_found(gpu):
    y = to_device(gpu, np.ones(THREADS, np.float32))
    with pytest.raises(EmulationError, match="more local variables than 262144 bytes"):
        gpu.launch(SOURCE, "large_local_array", 1, 1, y, 70_000)


def test_the_device_works_on_after_a_fault(gpu):
    y = gpu.array((THREADS,))
    for _ in range(2):
        with pytest.raises(EmulationError):
            gpu.launch(SOURCE, "divergent_barrier", 1, THREADS, y)
        gpu.launch(SOURCE, "one_more_barrier", 1, 32, y)
        assert (to_host(gpu, y)[:32] == 1).all()


# What is read without having been written is NaN.


@pytest.mark.parametrize("blocks", [1, 3])
def test_unwritten_shared_memory_is_nan_in_every_block(gpu, blocks):
    y = gpu.array((THREADS,))
    gpu.launch(SOURCE, "reads_unwritten_shared", blocks, THREADS, y)
    np.testing.assert_array_equal(to_host(gpu, y), [1.0] * 63 + [np.nan])


def test_new_memory_is_nan(gpu):
    assert np.isnan(to_host(gpu, gpu.array((5,)))).all()
    first = gpu.scratch(40)
    gpu.zero(first)
    assert (to_host(gpu, gpu.scratch(20)) == 0xFF).all()


@pytest.mark.parametrize("kernel", ["reads_outside_its_array", "reads_outside_dynamic_shared"])
def test_beyond_an_array_lies_nan(gpu, kernel):
    y = to_device(gpu, np.ones(THREADS, np.float32))
    gpu.launch(SOURCE, kernel, 1, THREADS, y, shared=4 * THREADS)
    np.testing.assert_array_equal(to_host(gpu, y), [1.0] * 63 + [np.nan])


# Races: results depend on the order.


def outcomes(gpu, source, kernel, grid, block, *arguments, out):
    found = []
    for order in ("forward", "reverse", "shuffled"):
        gpu.driver.thread_order = gpu.driver.block_order = order
        gpu.launch(source, kernel, grid, block, *arguments)
        found.append(to_host(gpu, out))
    return found


def test_a_missing_barrier_shows_in_another_order_of_threads(gpu):
    x = to_device(gpu, np.random.default_rng(0).standard_normal(256, np.float32))
    y = gpu.array((256,))
    right = outcomes(gpu, "kernels.cu", "stencil", 1, 256, x, y, 8, out=y)
    wrong = outcomes(gpu, SOURCE, "missing_barrier", 1, 256, x, y, 8, out=y)
    assert all((right[0] == other).all() for other in right)
    assert not (wrong[0] == wrong[1]).all() and not (wrong[0] == right[0]).all()


def test_a_race_of_blocks_shows_in_another_order_of_blocks(gpu):
    y = gpu.array((1,), np.int32)
    found = [int(a[0]) for a in outcomes(gpu, SOURCE, "race_of_blocks", 10, 32, y, out=y)]
    assert found[0] == 9
    assert found[1] == 0
