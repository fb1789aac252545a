import numpy as np
import pytest

from caffe_spn.errors import PrototxtError
from tests import golden_cases
from tests.layers.running import SHAPES, Run, normal


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("in_place", [False, True])
def test_forward(shape, in_place):
    x = normal(*shape)
    definition = 'type: "Threshold" threshold_param { threshold: 0.25 }'
    expected = np.array([1.0 if v > 0.25 else 0.0 for v in x.ravel()]).reshape(shape)
    np.testing.assert_array_equal(Run(definition, x, in_place=in_place).out, expected)


def test_the_threshold_itself_is_not_above_it():
    out = Run('type: "Threshold"', np.array([-1.0, 0.0, 1e-30, np.nan, np.inf])).out
    np.testing.assert_array_equal(out, [0, 0, 1, 0, 1])


def test_there_is_no_gradient():
    with pytest.raises(PrototxtError, match="has no gradient"):
        Run('type: "Threshold"', normal(2, 3)).backward(0, propagate=[True])


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("Threshold",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
