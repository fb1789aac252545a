import numpy as np
import pytest

from caffe_spn.gradient_check import check_gradients
from tests import golden_cases
from tests.layers.running import SHAPES, Run, normal


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("tops", [1, 2, 4])
def test_tops_share_data_and_their_diffs_add_up(shape, tops):
    x = normal(*shape)
    run = Run('type: "Split"', x, tops=tops)
    for blob in run.top:
        assert blob.shape == shape
        assert np.shares_memory(blob.data, run.bottom[0].data)
    diffs = [normal(*shape, seed=i) for i in range(tops)]
    np.testing.assert_allclose(run.backward(*diffs)[0], sum(diffs), 1e-6)
    np.testing.assert_array_equal(run.bottom[0].data, x)


def test_gradient():
    check_gradients('type: "Split"', [(2, 3)], tops=3)


def test_split_follows_a_new_shape():
    run = Run('type: "Split"', normal(2, 3), tops=2)
    run.bottom[0].reshape(5, 4)
    run.bottom[0].data[...] = 7
    run.forward()
    np.testing.assert_array_equal(run.top[1].data, np.full((5, 4), 7))


def test_silence_sends_a_zero_gradient():
    run = Run('type: "Silence"', normal(2, 3), normal(4), tops=0)
    for blob in run.bottom:
        blob.diff[...] = 5
    run.layer.backward(run.top, [True, False], run.bottom)
    np.testing.assert_array_equal(run.bottom[0].diff, 0)
    np.testing.assert_array_equal(run.bottom[1].diff, 5)


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("Split", "Silence")), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
