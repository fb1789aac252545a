import numpy as np
import pytest

from caffe_spn.errors import PrototxtError, ShapeError
from caffe_spn.gradient_check import check_gradients
from tests import golden_cases
from tests.layers.running import Run, normal


def crop(rest=""):
    return f'type: "Crop" crop_param {{ {rest} }}'


@pytest.mark.parametrize(
    "rest, data, reference, window",
    [
        ("", (2, 3, 5, 6), (2, 9, 2, 3), np.s_[:, :, :2, :3]),
        ("offset: 1", (2, 3, 5, 6), (1, 1, 4, 3), np.s_[:, :, 1:5, 1:4]),
        ("offset: 2 offset: 0", (1, 2, 5, 6), (1, 2, 3, 6), np.s_[:, :, 2:5]),
        ("axis: -1 offset: 3", (1, 2, 4, 6), (1, 1, 1, 2), np.s_[..., 3:5]),
        ("axis: 1 offset: 1 offset: 0", (2, 3, 4), (7, 2, 4), np.s_[:, 1:3]),
        ("axis: 0", (3, 2), (2, 2), np.s_[:2]),
    ],
)
def test_forward_and_backward(rest, data, reference, window):
    x = normal(*data)
    run = Run(crop(rest), x, normal(*reference))
    np.testing.assert_array_equal(run.out, x[window])
    top_diff = normal(*run.out.shape, seed=1)
    run.bottom[0].diff[...] = run.bottom[1].diff[...] = 9
    wanted = np.zeros_like(x)
    wanted[window] = top_diff
    data_diff, reference_diff = run.backward(top_diff)
    np.testing.assert_array_equal(data_diff, wanted)
    np.testing.assert_array_equal(reference_diff, 0)


def test_gradient():
    check_gradients(crop("offset: 1 offset: 2"), [(2, 3, 4, 5), (2, 1, 2, 3)])


@pytest.mark.parametrize(
    "rest, data, reference, message",
    [
        ("axis: 4", (1, 1, 4, 4), (1, 1, 3, 3), "axis 4 is out of range"),
        ("offset: 2", (1, 1, 4, 4), (1, 1, 3, 3), "cannot cut 3 from 4 elements along axis 2"),
        ("", (1, 1, 4, 4), (1, 1, 4, 5), "cannot cut 5 from 4 elements along axis 3"),
        ("axis: 1 offset: 1 offset: 1", (1, 2, 4, 4), (1, 1, 3, 3), "has 2 offsets for the 3 axes"),
        ("", (1, 1, 4, 4), (3, 3), r"\(reference\) is \(3, 3\); it must have the 4 axes"),
    ],
)
def test_errors(rest, data, reference, message):
    with pytest.raises(ShapeError, match=message):
        Run(crop(rest), normal(*data), normal(*reference))


def test_in_place_is_refused():
    with pytest.raises(PrototxtError, match="cannot compute in place"):
        Run(crop(), normal(1, 1, 3, 3), normal(1, 1, 2, 2), in_place=True)


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("Crop",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
