import json

import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn.errors import PrototxtError
from tests import golden_cases
from tests.layers.running import TEST, Run, normal


def dropout(ratio):
    return f'type: "Dropout" dropout_param {{ dropout_ratio: {ratio} }}'


@pytest.mark.parametrize("ratio", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("in_place", [False, True])
def test_training_keeps_a_share_and_scales_it(ratio, in_place):
    caffe.set_random_seed(1)
    x = 1 + np.abs(normal(100, 200))
    run = Run(dropout(ratio), x, in_place=in_place)
    kept = run.out != 0
    assert kept.mean() == pytest.approx(1 - ratio, abs=0.01)
    np.testing.assert_allclose(run.out[kept], x[kept] / (1 - ratio), 1e-5)
    top_diff = normal(100, 200, seed=1)
    wanted = np.where(kept, top_diff / (1 - ratio), 0)
    np.testing.assert_allclose(run.backward(top_diff)[0], wanted, 1e-5)


def test_each_pass_draws_anew_and_a_seed_repeats_all():
    outputs = []
    for _ in range(2):
        caffe.set_random_seed(3)
        run = Run(dropout(0.5), np.ones((8, 8)))
        first = run.out.copy()
        run.forward()
        outputs.append((first, run.out.copy()))
    assert (outputs[0][0] != outputs[0][1]).any()
    np.testing.assert_array_equal(outputs[0], outputs[1])


def test_restored_state_goes_on_with_the_same_numbers():
    run = Run(dropout(0.5), np.ones((8, 8)))
    state = json.loads(json.dumps(run.layer.state()))
    run.forward()
    wanted = run.out.copy()
    other = Run(dropout(0.5), np.ones((8, 8)))
    other.layer.restore_state(state)
    other.forward()
    np.testing.assert_array_equal(other.out, wanted)


def test_ratio_zero_keeps_all():
    x = normal(3, 4)
    np.testing.assert_array_equal(Run(dropout(0), x).out, x)


@pytest.mark.parametrize("in_place", [False, True])
def test_testing_passes_all(in_place):
    x, top_diff = normal(3, 4), normal(3, 4, seed=1)
    run = Run(dropout(0.5), x, phase=TEST, in_place=in_place)
    np.testing.assert_array_equal(run.out, x)
    np.testing.assert_array_equal(run.backward(top_diff)[0], top_diff)


@pytest.mark.parametrize("ratio", [1, -0.1, "nan"])
def test_ratio_is_checked_where_it_counts(ratio):
    np.testing.assert_array_equal(Run(dropout(ratio), normal(2), phase=TEST).out, normal(2))
    with pytest.raises(PrototxtError, match="it must be at least 0 and less than 1"):
        Run(dropout(ratio), normal(2))


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("Dropout",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
