import numpy as np
import pytest

from caffe_spn.errors import PrototxtError
from caffe_spn.gradient_check import check_gradients
from tests import golden_cases
from tests.layers.running import SHAPES, Run, normal


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_forward(shape):
    x = normal(*shape)
    expected = np.array([-v if v < 0 else v for v in x.ravel()]).reshape(shape)
    np.testing.assert_array_equal(Run('type: "AbsVal"', x).out, expected)


def test_gradient():
    check_gradients('type: "AbsVal"', [(2, 3, 4, 5)], kink=0, kink_range=0.01)


def test_derivative_at_zero_is_zero():
    run = Run('type: "AbsVal"', np.zeros(3))
    np.testing.assert_array_equal(run.backward([1, -1, 5])[0], 0)


def test_in_place_is_refused():
    with pytest.raises(PrototxtError, match="AbsVal cannot compute in place"):
        Run('type: "AbsVal"', normal(3), in_place=True)


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("AbsVal",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
