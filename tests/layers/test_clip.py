import numpy as np
import pytest

from caffe_spn.errors import PrototxtError
from caffe_spn.gradient_check import check_gradients
from caffe_spn.layer import create_layer
from caffe_spn.proto import caffe_pb2
from tests import golden_cases
from tests.layers.running import SHAPES, Run, normal


def clip(low, high):
    return f'type: "Clip" clip_param {{ min: {low} max: {high} }}'


def expected(x, low, high):
    return np.array([max(low, min(v, high)) for v in x.ravel()]).reshape(x.shape)


@pytest.mark.parametrize("bounds", [(-0.5, 0.75), (0, 0), (0.5, -0.25)])
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_forward(shape, in_place, bounds):
    x = normal(*shape)
    out = Run(clip(*bounds), x, in_place=in_place).out
    np.testing.assert_array_equal(out, expected(x, *bounds))


def test_gradient():
    check_gradients(clip(-0.5, 0.5), [(2, 3, 4, 5)], kink=0.5, kink_range=1e-4)


def test_values_on_a_bound_pass_their_gradient():
    x = [-1.5, -1, 0, 2, np.nextafter(np.float32(2), 3)]
    np.testing.assert_array_equal(Run(clip(-1, 2), x).backward(3.0)[0], [0, 3, 3, 3, 0])


def test_in_place_every_gradient_passes():
    run = Run(clip(-1, 1), [-2.0, 0, 2], in_place=True)
    np.testing.assert_array_equal(run.backward([3, 4, 5])[0], [3, 4, 5])


def test_nan_propagates():
    run = Run(clip(-1, 1), [np.nan, np.inf, -np.inf])
    np.testing.assert_array_equal(run.out, [np.nan, 1, -1])


def test_without_its_message_the_bounds_are_0():
    np.testing.assert_array_equal(Run('type: "Clip"', normal(2, 3)).out, np.zeros((2, 3)))


def test_both_bounds_are_needed():
    # The text format refuses this; a message made in Python gets as far as the layer.
    param = caffe_pb2.LayerParameter(name="c", type="Clip", clip_param={"min": -1})
    with pytest.raises(PrototxtError, match="has a clip_param without max"):
        create_layer(param).setup([], [])


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("Clip",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
