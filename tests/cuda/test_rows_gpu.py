"""BatchReindex and Filter on a GPU: against their CPU paths, and against Caffe's records."""

import numpy as np
import pytest

import caffe_spn
from caffe_spn.errors import DataError
from tests import golden_cases
from tests.cuda import both_devices
from tests.cuda.arrays import normal
from tests.layers.running import Run

REINDEX, FILTER = 'type: "BatchReindex"', 'type: "Filter"'


@pytest.mark.sanitized
@pytest.mark.parametrize("shape", [(3, 2, 4), (3,), (3, 0)])
@pytest.mark.parametrize("index", [[0], [2, 0, 2, 2, 1, 0], []])
def test_batch_reindex(gpu, shape, index):
    compare(gpu, REINDEX, normal(*shape), np.array(index))


@pytest.mark.parametrize("selector", [[1, 0, 1], [0, 0, 0], [1, 1, 1]])
def test_filter(gpu, selector):
    selector = np.array(selector, np.float32)
    compare(gpu, FILTER, normal(3, 2, 4), normal(3, 5, seed=1), selector, tops=2)


def compare(gpu, text, *bottoms, tops=1):
    """Tops and diffs are those of the CPU."""
    found = []
    for set_mode in (caffe_spn.set_mode_cpu, caffe_spn.set_mode_gpu):
        set_mode()
        launches = gpu.launches
        run = Run(text, *bottoms, tops=tops)
        top_diffs = [normal(*top.shape, seed=2 + i) for i, top in enumerate(run.top)]
        diffs = run.backward(*top_diffs)[:tops]
        found.append([*(top.data.copy() for top in run.top), *(d.copy() for d in diffs)])
    assert gpu.launches > launches or not any(blob.count for blob in run.top)
    for on_cpu, on_gpu in zip(*found, strict=True):
        np.testing.assert_allclose(on_gpu, on_cpu, 1e-6, 1e-6)


def test_an_index_without_an_example(gpu):
    caffe_spn.set_mode_gpu()
    with pytest.raises(DataError, match="index -1 at"):
        Run(REINDEX, normal(3, 2), np.array([1, -1]))


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("BatchReindex", "Filter")), ids=golden_cases.case_id
)
def test_as_caffe_recorded(gpu, case, tmp_path):
    both_devices.run_golden(gpu, case, tmp_path)
