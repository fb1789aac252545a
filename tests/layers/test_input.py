import pytest

from caffe_spn.errors import PrototxtError
from tests import golden_cases
from tests.layers.running import Run


def test_shapes():
    one = 'type: "Input" input_param { shape { dim: 2 dim: 3 } }'
    assert [b.shape for b in Run(one, tops=2).top] == [(2, 3), (2, 3)]
    each = 'type: "Input" input_param { shape { dim: 2 dim: 3 } shape { } }'
    assert [b.shape for b in Run(each, tops=2).top] == [(2, 3), ()]


def test_a_shape_given_later_and_the_content_stay():
    run = Run('type: "Input" input_param { shape { dim: 2 } }')
    run.top[0].reshape(3, 4)
    run.out[...] = 5
    run.forward()
    assert run.out.shape == (3, 4) and (run.out == 5).all()


def test_number_of_shapes_is_checked():
    with pytest.raises(PrototxtError, match="has 2 shapes for 3 tops"):
        Run('type: "Input" input_param { shape { } shape { } }', tops=3)


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("Input",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
