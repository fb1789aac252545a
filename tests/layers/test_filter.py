import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn.errors import PrototxtError, ShapeError
from caffe_spn.gradient_check import check_gradients
from tests import golden_cases
from tests.layers.running import SHAPES, Run, normal

FILTER = 'type: "Filter"'


def expected(x, selector):
    rows = [x[n] for n in range(len(x)) if selector.ravel()[n] != 0]
    return np.array(rows).reshape(len(rows), *x.shape[1:])


def expected_gradient(top_diff, selector, shape):
    diff, passed = np.zeros(shape), 0
    for n in range(shape[0]):
        if selector.ravel()[n] != 0:
            diff[n] = top_diff[passed]
            passed += 1
    return diff


@pytest.mark.parametrize("selector", [[1, 0, 0, -2.5], [0, 0.1, 1, 0], [1, 1, 1, 1], [0] * 4])
@pytest.mark.parametrize("shape", [*SHAPES.values(), (2,)], ids=[*SHAPES, "numbers"])
def test_forward_and_backward(shape, selector):
    x = normal(4, *shape[1:])
    selector = np.array(selector)
    run = Run(FILTER, x, selector)
    np.testing.assert_array_equal(run.out, expected(x, selector))
    top_diff = normal(*run.out.shape, seed=1)
    wanted = expected_gradient(top_diff, selector, x.shape)
    for _ in range(2):  # overwritten, not added up
        np.testing.assert_array_equal(run.backward(top_diff)[0], wanted)


@pytest.mark.parametrize("tail", [(), (1,), (1, 1, 1)])
def test_several_bottoms_and_any_form_of_selector(tail):
    a, b, selector = normal(3, 2, 2), normal(3, 4, seed=1), np.array([0, 1, 1])
    run = Run(FILTER, a, b, selector.reshape(3, *tail), tops=2)
    for x, top in zip((a, b), run.top, strict=True):
        np.testing.assert_array_equal(top.data, x[1:])


def test_gradient():
    check_gradients(FILTER, [(4, 2, 3), (4, 5), np.array([1, 0, 1, 1])], tops=2)


def test_only_wanted_gradients_are_written():
    run = Run(FILTER, normal(3, 2), normal(3, 2), [0, 1, 1], tops=2)
    for blob in run.bottom:
        blob.diff.fill(9)
    diffs = run.backward(1.0, 2.0, propagate=[False, True, False])
    assert (diffs[0] == 9).all() and (diffs[2] == 9).all()
    np.testing.assert_array_equal(diffs[1], [[0, 0], [2, 2], [2, 2]])


def test_nan_is_not_0():
    assert Run(FILTER, normal(3, 2), [np.nan, 0, 0]).out.shape == (1, 2)


def test_no_examples_give_none():
    run = Run(FILTER, np.zeros((0, 2)), np.zeros(0))
    assert run.out.shape == (0, 2)
    run.backward(0)


NET = """
layer { name: "x" type: "Input" top: "x" top: "sel"
        input_param { shape { dim: [4, 3] } shape { dim: 4 } } }
layer { name: "f" type: "Filter" bottom: "x" bottom: "sel" top: "kept" }
layer { name: "ip" type: "InnerProduct" bottom: "kept" top: "y"
        inner_product_param { num_output: 2 weight_filler { value: 1 } } }
layer { name: "l" type: "Reduction" bottom: "y" top: "loss" loss_weight: 1 }
"""


@pytest.fixture
def net(tmp_path):
    (tmp_path / "net.prototxt").write_text("force_backward: true" + NET)
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TRAIN)
    net.blobs["x"].data[...] = normal(4, 3)
    return net


def test_a_network_is_built_for_all_examples_and_run_with_those_that_pass(net):
    assert net.blobs["y"].shape == (4, 2)
    for selector in ([0, 1, 0, 1], [1, 0, 0, 0], [1, 1, 1, 1]):
        net.blobs["sel"].data[...] = selector
        net.forward()
        assert net.blobs["y"].shape == (sum(selector), 2)
        net.clear_param_diffs()
        net.backward()
        np.testing.assert_array_equal(net.blobs["x"].diff, np.outer(selector, [2, 2, 2]))
        kept = net.blobs["x"].data[np.array(selector) == 1]
        np.testing.assert_allclose(net.params["ip"][0].diff, [kept.sum(axis=0)] * 2, 1e-5)


def test_a_batch_of_which_nothing_passes_teaches_nothing(net):
    net.clear_param_diffs()
    assert net.forward()["loss"] == 0
    assert net.blobs["kept"].shape == (0, 3)
    net.backward()
    assert not net.blobs["x"].diff.any()
    assert not any(blob.diff.any() for blob in net.params["ip"])


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((3, 2), (3, 2)), r"bottom 1 \(the selector\) is \(3, 2\); it must be \(N,\)"),
        (((3, 2), ()), r"bottom 1 \(the selector\) is \(\); it must be \(N,\)"),
        (((3, 2), (4,)), r"bottom 0 is \(3, 2\) and bottom 1 \(the selector\) is \(4,\)"),
        (((), (4,)), r"bottom 0 is \(\) and bottom 1 \(the selector\) is \(4,\)"),
        (((4, 2), (3, 2), (4, 1)), r"bottom 1 is \(3, 2\) and bottom 2 \(the selector\)"),
    ],
)
def test_shapes_are_checked(shapes, message):
    with pytest.raises(ShapeError, match=message):
        Run(FILTER, *map(np.zeros, shapes), tops=len(shapes) - 1)


@pytest.mark.parametrize("tops", [1, 3])
def test_one_top_for_each_bottom_but_the_selector(tops):
    with pytest.raises(PrototxtError, match=rf"has 3 bottom\(s\) and {tops} top\(s\)"):
        Run(FILTER, normal(2), normal(2), normal(2), tops=tops)


def test_the_selector_has_no_gradient():
    run = Run(FILTER, normal(3, 2), [0, 1, 1])
    with pytest.raises(PrototxtError, match=r"gradient for bottom 1 \('b1'\), the selector"):
        run.backward(1.0, propagate=[True, True])


def test_not_in_place():
    with pytest.raises(PrototxtError, match="cannot compute in place"):
        Run(FILTER, normal(3, 2), [0, 1, 1], in_place=True)


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("Filter",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path):
    golden_cases.run_net(case, tmp_path)
