"""Spelled-out propagation units become SpatialPropagation layers, and nothing else does."""

import pytest

from caffe_spn.graph.expand import expand
from caffe_spn.graph.fuse import fuse
from caffe_spn.graph.splits import insert_splits
from caffe_spn.graph.wiring import without_splits
from caffe_spn.proto import caffe_pb2
from tests.graph.propagation_nets import assert_same_numbers, fused_net, parse, read, types

RECORDED = {
    "spn_unit_1_1x2x6x5": 1,
    "spn_unit_2_1x3x16x16": 2,
    "spn_unit_2_2x2x7x19": 2,
    "spn_unit_3_1x1x8x8": 3,
}
ONE = "spn_unit_1_1x2x6x5"
TWO = "spn_unit_2_2x2x7x19"


def layer_of(param, name):
    return next(layer for layer in param.layer if layer.name == name)


def notes_on(param) -> str:
    """Why nothing was fused."""
    notes = []
    assert fuse(param, notes) == param
    assert notes
    return "\n".join(notes)


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_nets(name):
    param = read(name)
    kept = read(name)
    fused = fuse(param)
    assert param == kept, "the given message was changed"
    assert types(fused) == ["Input", "Input", "SpatialPropagation"]
    layer = fused.layer[2]
    units = RECORDED[name]
    assert (list(layer.bottom), list(layer.top)) == (["x", "g"], [f"u{units}"])
    assert layer.name == f"u{units}_max"
    assert layer.spatial_propagation_param.units == units
    assert_same_numbers(param, fused, f"u{units}")


@pytest.mark.parametrize("name", RECORDED)
def test_with_splits(name):
    param = read(name)
    assert fuse(insert_splits(param)) == fuse(param)


def test_other_names_and_another_order():
    param = read(TWO)
    other = caffe_pb2.NetParameter()
    other.CopyFrom(param)
    kept = {"x", "g", "u2"}
    del other.layer[:]
    # Gates first in reverse, then the scans of each unit in reverse before their join.
    inputs, slices = param.layer[:2], param.layer[2:3]
    per_direction = [list(param.layer[3 + 8 * d : 11 + 8 * d]) for d in range(4)]
    units = [list(param.layer[35 + 5 * u : 40 + 5 * u]) for u in range(2)]
    other.layer.extend([*inputs, *slices])
    for layers in reversed(per_direction):
        other.layer.extend(layers)
    for unit in units:
        other.layer.extend([*reversed(unit[:4]), unit[4]])
    for layer in other.layer:
        if layer.type == "Eltwise":
            # Nor does the order matter in which values are added, multiplied or joined.
            layer.bottom[:] = list(reversed(layer.bottom))
        layer.name = f"layer {layer.name}"
        for blobs in (layer.bottom, layer.top):
            blobs[:] = [b if b in kept else f"blob of {b}" for b in blobs]
    fused = fuse(other)
    assert types(fused) == ["Input", "Input", "SpatialPropagation"]
    assert fused.layer[2].spatial_propagation_param.units == 2
    assert_same_numbers(other, fused, "u2")


def test_slice_points_may_be_missing():
    param = read(ONE)
    layer_of(param, "slice").slice_param.ClearField("slice_point")
    assert fuse(param) == fuse(read(ONE))


def test_a_net_without_units():
    param = parse('layer { name: "r" type: "ReLU" bottom: "a" top: "b" }')
    notes = []
    assert fuse(param, notes) == param
    assert notes == []


def test_twice_is_once():
    fused = fuse(read(TWO))
    assert fuse(fused) == fused


def test_the_rest_of_the_net_stays():
    param = read(ONE)
    param.layer.add(name="relu", type="ReLU", bottom=["u1"], top=["u1"])
    param.layer.add(name="score", type="Power", bottom=["u1"], top=["score"])
    assert types(fuse(param))[2:] == ["SpatialPropagation", "ReLU", "Power"]


def test_a_map_between_units_that_is_read_elsewhere():
    param = read(TWO)
    param.layer.add(name="look", type="Power", bottom=["u1"], top=["look"])
    fused = fuse(param)
    assert types(fused)[2:] == ["SpatialPropagation", "SpatialPropagation", "Power"]
    assert [list(layer.bottom) for layer in fused.layer[2:4]] == [["x", "g"], ["u1", "g"]]
    assert_same_numbers(param, fused, "u2")


def test_an_inner_blob_that_is_read_elsewhere():
    param = read(ONE)
    param.layer.add(name="look", type="Power", bottom=["x1_n2"], top=["look"])
    assert "layer 'look' reads the inner blob 'x1_n2'" in notes_on(param)


def test_an_inner_blob_read_by_a_unit_that_stays():
    # The second unit cannot be fused, so that the first has to keep the gates for it.
    param = read(TWO)
    layer_of(param, "u2_y2").gaterecurrent2dnoind_param.reverse = False
    notes = notes_on(param)
    assert "layer 'u2_max' (Eltwise): not fused: the scan bottom-top is missing" in notes
    assert "layer 'u1_max' (Eltwise): not fused: layer 'u2_x1' reads the inner blob" in notes


def test_an_inner_blob_that_is_an_output():
    param = read(ONE)
    sliced = layer_of(param, "slice")
    sliced.top.append("more")
    sliced.slice_param.slice_point.append(24)
    assert "the Slice has 13 tops for 12 gates" in notes_on(param)


def test_gates_in_another_order():
    param = read(ONE)
    top = layer_of(param, "slice").top
    top[0], top[1] = top[1], top[0]
    assert "not in the guidance in the order of the directions" in notes_on(param)


def test_scans_of_different_maps():
    param = read(ONE)
    layer_of(param, "u1_y1").bottom[0] = "x1_g1"
    assert "do not read the same map" in notes_on(param)


def test_other_sums():
    param = read(ONE)
    layer_of(param, "x1_abs1").bottom[0] = "x2_g1"
    assert "the sum of their own absolute values" in notes_on(param)


def test_another_alpha():
    param = read(ONE)
    layer_of(param, "x1_div").divide_param.alpha = 2
    assert "alpha other than 1" in notes_on(param)


def test_uneven_slices():
    param = read(ONE)
    layer_of(param, "slice").slice_param.slice_point[0] = 1
    assert "does not make equal parts" in notes_on(param)


def test_a_weighted_sum_of_scans():
    param = read(ONE)
    join = layer_of(param, "u1_max").eltwise_param
    join.operation = join.SUM
    join.coeff.extend([1, 1, 1, 2])
    assert "neither by MAX, nor by a sum or mean" in notes_on(param)


def test_a_layer_that_exists_only_in_one_phase():
    param = read(ONE)
    layer_of(param, "x1_abs1").include.add(phase=caffe_pb2.TEST)
    assert "layer 'x1_abs1' has the field 'include'" in notes_on(param)


def test_a_loss_on_an_inner_blob():
    param = read(ONE)
    layer_of(param, "x1_n1").loss_weight.append(1)
    assert "has the field 'loss_weight'" in notes_on(param)


def test_a_guidance_overwritten_before_the_join():
    param = expand(fused_net((1, 2, 6, 5)))
    join = param.layer.pop()
    param.layer.add(name="relu", type="ReLU", bottom=["g"], top=["g"])
    param.layer.append(join)
    assert "'g' is overwritten before the scans are joined" in notes_on(param)


def test_three_scans():
    param = read(ONE)
    del layer_of(param, "u1_max").bottom[3]
    assert "joins 3 scans, not 4" in notes_on(param)


def test_splits_that_must_stay():
    # One of its tops is an output; the other split blob is written again.
    param = parse("""
        layer { name: "a" type: "Input" top: "a" }
        layer { name: "s" type: "Split" bottom: "a" top: "s1" top: "s2" }
        layer { name: "r" type: "ReLU" bottom: "s1" top: "b" }
        layer { name: "t" type: "Split" bottom: "b" top: "t1" top: "t2" }
        layer { name: "u" type: "ReLU" bottom: "t1" top: "b" }
        layer { name: "v" type: "ReLU" bottom: "t2" top: "c" }""")
    assert without_splits(param) == param
