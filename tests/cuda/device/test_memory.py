"""The pool of device memory: what it holds, hands out again, and gives back."""

import pytest

from caffe_spn.cuda.device import memory
from caffe_spn.cuda.device.driver import OutOfDeviceMemory
from caffe_spn.cuda.device.memory import Pool
from tests.cuda.host_driver import HostDriver

MB = 1 << 20


@pytest.fixture
def pool():
    return Pool(HostDriver(100 * MB))


def test_sizes_are_rounded_up(pool):
    assert [pool.allocate(n).nbytes for n in (0, 1, 256, 257)] == [256, 256, 256, 512]


def test_a_block_that_fits_is_used_again(pool):
    block = pool.allocate(8 * MB)
    address = block.address
    del block
    assert (pool.in_use, pool.held) == (0, 8 * MB)
    assert pool.allocate(8 * MB - 100_000).address == address


def test_a_block_that_is_much_larger_is_not(pool):
    block = pool.allocate(8 * MB)
    address = block.address
    del block
    other = pool.allocate(7 * MB)
    assert other.address != address
    assert (pool.in_use, pool.held) == (7 * MB, 8 * MB)


def test_the_smallest_that_fits_is_taken(pool):
    blocks = [pool.allocate(n * MB) for n in (16, 17, 15)]
    address = blocks[0].address
    del blocks
    assert pool.allocate(16 * MB - 1000).address == address


def test_what_is_held_stays_small(pool, monkeypatch):
    monkeypatch.setattr(memory, "MOST_HELD", 4 * MB)
    kept = pool.allocate(1 * MB)
    for size in (10, 12, 14, 16, 18):
        pool.allocate(size * MB)
    assert pool.held == 18 * MB  # given up last, and nothing was asked for since
    pool.allocate(3 * MB)
    assert pool.held == 3 * MB
    assert pool.peak == 19 * MB
    assert kept.nbytes == pool.in_use == 1 * MB


def test_what_is_held_goes_back_before_memory_is_short(pool):
    blocks = [pool.allocate(10 * MB) for _ in range(3)]
    del blocks
    assert pool.held == 30 * MB
    assert pool.allocate(90 * MB).nbytes == 90 * MB
    with pytest.raises(OutOfDeviceMemory):
        pool.allocate(101 * MB)


def test_release_held(pool):
    kept = pool.allocate(1000)
    pool.allocate(2000)
    pool.release_held()
    assert (pool.in_use, pool.held) == (1024, 0)
    assert list(pool.driver.blocks) == [kept.address]


def test_a_block_that_outlives_its_pool(pool):
    block = pool.allocate(1000)
    pool.close()
    assert pool.driver.blocks == {}
    del block
    assert (pool.in_use, pool.held) == (0, 0)
