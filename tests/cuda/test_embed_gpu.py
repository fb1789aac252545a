"""Embed on a GPU: against its CPU path, and against Caffe's records."""

import numpy as np
import pytest

import caffe_spn
from caffe_spn.cuda import rows
from caffe_spn.errors import DataError, ShapeError
from tests import golden_cases
from tests.cuda import both_devices
from tests.cuda.arrays import down, empty, normal, up
from tests.layers.running import Run

WORDS = {
    "one": np.zeros((1,)),
    "each once": np.arange(7),
    "some often": np.array([[3, 3, 0], [6, 3, 0]]),
    "all the same": np.full((2, 40), 5),
    "none": np.zeros((0, 2)),
}


def definition(text=""):
    return f'type: "Embed" embed_param {{ input_dim: 7 num_output: 5 {text} }}'


@pytest.mark.sanitized
@pytest.mark.parametrize("text", ["", "bias_term: false"])
@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_as_on_the_cpu(gpu, words, text):
    found = []
    for set_mode in (caffe_spn.set_mode_cpu, caffe_spn.set_mode_gpu):
        set_mode()
        run = Run(definition(text), words, params=[normal(7, 5), normal(5, seed=1)])
        for seed in (2, 3):
            run.backward(normal(*run.out.shape, seed=seed), propagate=[False])
        found.append([run.out, *(blob.diff for blob in run.layer.blobs)])
    for on_cpu, on_gpu in zip(*found, strict=True):
        np.testing.assert_allclose(on_gpu, on_cpu, 1e-5, 1e-5)


def test_an_index_without_a_row(gpu):
    caffe_spn.set_mode_gpu()
    with pytest.raises(DataError, match="index 7 at"):
        Run(definition(), np.array([3, 7]))


def test_sums_are_made_in_order(gpu_in_order):
    indices = np.random.default_rng(0).integers(0, 4, 300)
    plan, differing = rows.groups(indices)
    found, x = up(np.zeros((4, 3), np.float32)), normal(300, 3)
    rows.add_rows(up(x), up(plan), differing, found)
    wanted = np.zeros((4, 3), np.float32)
    for index, row in zip(indices, x, strict=True):
        wanted[index] += row
    np.testing.assert_array_equal(down(found), wanted)


def test_sizes_are_checked(gpu):
    with pytest.raises(ShapeError, match=r"indices is \(2,\) \(float32\)"):
        rows.take_rows(empty((3, 4)), empty((2,)), empty((2, 4)))
    with pytest.raises(ShapeError, match=r"target is \(2, 5\) .* 8 elements"):
        rows.take_rows(empty((3, 4)), empty((2,), np.int32), empty((2, 5)))
    with pytest.raises(ShapeError, match=r"plan is \(6,\) .* 7 elements"):
        rows.add_rows(empty((2, 4)), empty((6,), np.int32), 2, empty((3, 4)))


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("Embed",)), ids=golden_cases.case_id
)
def test_as_caffe_recorded(gpu, case, tmp_path):
    both_devices.run_golden(gpu, case, tmp_path)
