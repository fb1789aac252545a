"""What `set_solver_count` and `set_solver_rank` mean for data, tests and snapshots."""

import os

import h5py
import numpy as np
import pytest

import caffe_spn as caffe

ROWS = 8
DATA = """
layer { name: "data" type: "HDF5Data" top: "x"
  hdf5_data_param { source: "list.txt" batch_size: 2 } }
"""


@pytest.fixture
def rank():
    """Makes this process's solver the one of that rank of two."""

    def become(number):
        caffe.set_solver_count(2)
        caffe.set_solver_rank(number)

    yield become
    caffe.set_solver_count(1)
    caffe.set_solver_rank(0)


def batches(lab, phase, count=3):
    with h5py.File("data.h5", "w") as file:
        file["x"] = np.arange(ROWS, dtype=np.float32)[:, None]
    lab.write("data.h5\n", "list.txt")
    net = lab.net(DATA, phase)
    return [net.forward()["x"].ravel().tolist() for _ in range(count)]


@pytest.mark.parametrize(
    ("number", "expected"), [(0, [[0, 1], [4, 5], [0, 1]]), (1, [[2, 3], [6, 7], [2, 3]])]
)
def test_each_trains_with_its_share_of_the_batches(lab, rank, number, expected):
    rank(number)
    assert batches(lab, caffe.TRAIN) == expected
    assert batches(lab, caffe.TEST) == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.parametrize("number", [0, 1])
def test_only_the_first_tests_and_takes_snapshots(lab, rank, number):
    rank(number)
    solver = lab.solver(more="snapshot: 2 display: 1")
    tests = []
    solver.test_nets[0].after_forward(tests.append)
    solver.param.test_interval = 2
    solver.step(3)
    assert bool(tests) == any("caffemodel" in name for name in os.listdir()) == (number == 0)


def test_each_draws_random_numbers_of_its_own(lab, rank):
    weights = []
    for number in (0, 1, 0):
        rank(number)
        solver = lab.solver(more="random_seed: 3")
        weights.append(solver.net.params["conv"][0].data.copy())
    assert np.array_equal(weights[0], weights[2]) and not np.array_equal(weights[0], weights[1])
