import json

import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn.errors import PrototxtError
from tests import golden_cases
from tests.layers.running import Run


def dummy(rest):
    return f'type: "DummyData" dummy_data_param {{ {rest} }}'


RANDOM = dummy('shape { dim: 3 dim: 4 } data_filler { type: "gaussian" }')


def test_shapes_and_fillers_for_each_top():
    run = Run(
        dummy("shape { dim: 2 } shape { dim: 1 dim: 2 } data_filler { } data_filler { value: 3 }"),
        tops=2,
    )
    np.testing.assert_array_equal(run.top[0].data, [0, 0])
    np.testing.assert_array_equal(run.top[1].data, [[3, 3]])


def test_old_dimensions():
    run = Run(dummy("num: 2 num: 3 channels: 1 height: 4 width: 5"), tops=2)
    assert [b.shape for b in run.top] == [(2, 1, 4, 5), (3, 1, 4, 5)]


def test_random_tops_are_filled_anew_and_follow_the_seed():
    outputs = []
    for _ in range(2):
        caffe.set_random_seed(4)
        run = Run(RANDOM)
        first = run.out.copy()
        run.forward()
        outputs.append((first, run.out.copy()))
    assert (outputs[0][0] != outputs[0][1]).all()
    np.testing.assert_array_equal(outputs[0], outputs[1])


def test_constant_tops_keep_what_the_caller_writes():
    run = Run(dummy("shape { dim: 2 } data_filler { value: 1 }"))
    run.out[...] = 7
    run.forward()
    np.testing.assert_array_equal(run.out, 7)


def test_restored_state_goes_on_with_the_same_numbers():
    run, other = Run(RANDOM), Run(RANDOM)
    other.layer.restore_state(json.loads(json.dumps(run.layer.state())))
    run.forward()
    other.forward()
    np.testing.assert_array_equal(other.out, run.out)


@pytest.mark.parametrize(
    "rest, tops, message",
    [
        ("", 1, r"has 0 shape for 1 top\(s\)"),
        ("shape { } shape { }", 3, r"has 2 shape for 3 top\(s\)"),
        ("shape { } data_filler { } data_filler { }", 3, r"has 2 data_filler for 3 top\(s\)"),
        ("shape { } num: 1", 1, "both shape and num, channels, height or width"),
        ("num: 1 channels: 2 height: 3", 1, r"has 0 width for 1 top\(s\)"),
        ('shape { } data_filler { type: "zeros" }', 1, "unknown filler 'zeros'"),
        ("shape { dim: 2 dim: 0 }", 1, r"needs a blob with elements; this one is \(2, 0\)"),
    ],
)
def test_errors(rest, tops, message):
    with pytest.raises(PrototxtError, match=message):
        Run(dummy(rest), tops=tops)


def test_an_unknown_filler_is_found_when_the_net_is_built(tmp_path):
    definition = 'shape { dim: 1 } data_filler { type: "zeros" }'
    (tmp_path / "net.prototxt").write_text(f'layer {{ name: "d" top: "d" {dummy(definition)} }}')
    with pytest.raises(PrototxtError, match="unknown filler 'zeros'"):
        caffe.Net(tmp_path / "net.prototxt", caffe.TEST)


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("DummyData",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
