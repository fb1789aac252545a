"""SpatialPropagation layers spelled out in the types of the original SPN fork."""

from itertools import product

import pytest

from caffe_spn.errors import PrototxtError
from caffe_spn.graph.expand import expand
from caffe_spn.graph.fuse import fuse
from tests.graph.propagation_nets import (
    CONNECTIONS,
    INTEGRATIONS,
    NORMALIZATIONS,
    assert_same_numbers,
    fused_net,
    parse,
    read,
    types,
)

RULES = list(product(CONNECTIONS, NORMALIZATIONS, INTEGRATIONS))
ORIGINAL_TYPES = {
    "AbsVal",
    "Divide",
    "Eltwise",
    "GateRecurrent2dnoind",
    "Input",
    "Power",
    "ReLU",
    "Slice",
}


@pytest.mark.parametrize("rule", RULES, ids="-".join)
def test_same_numbers(rule):
    param = fused_net((2, 3, 7, 6), *rule)
    kept = fused_net((2, 3, 7, 6), *rule)
    spelled_out = expand(param)
    assert param == kept, "the given message was changed"
    assert set(types(spelled_out)) <= ORIGINAL_TYPES
    assert_same_numbers(param, spelled_out, "h")


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 2, 1, 9), (2, 1, 9, 1), (1, 2, 33, 70)])
def test_same_numbers_for_every_shape(shape):
    param = fused_net(shape, units=2)
    assert_same_numbers(param, expand(param), "h")


@pytest.mark.parametrize("units", [1, 2, 3])
@pytest.mark.parametrize("rule", RULES, ids="-".join)
def test_fuse_is_the_inverse(rule, units):
    param = fused_net((1, 2, 6, 5), *rule, units)
    fused = fuse(expand(param))
    assert types(fused) == types(param)
    found, wanted = fused.layer[2], param.layer[2]
    assert (found.name, found.bottom, found.top) == (wanted.name, wanted.bottom, wanted.top)
    for field in ("connection", "normalization", "integration", "units"):
        assert getattr(found.spatial_propagation_param, field) == getattr(
            wanted.spatial_propagation_param, field
        )


def test_expand_is_the_inverse_of_fuse():
    published = read("spn_unit_2_2x2x7x19")
    again = expand(fuse(published))
    assert sorted(types(again)) == sorted(types(published))
    assert_same_numbers(published, again, "u2")


def test_names():
    param = expand(fused_net((1, 2, 6, 5), units=2))
    names = [layer.name for layer in param.layer]
    assert len(names) == len(set(names)) == 2 + 43
    assert {"spn_slice", "spn_lr_n1", "spn_bt_div", "spn_u1_rl", "spn_u1", "spn"} <= set(names)
    assert (param.layer[-1].name, list(param.layer[-1].top)) == ("spn", ["h"])


def test_rules_and_losses_go_along():
    param = fused_net((1, 2, 6, 5))
    param.layer[2].include.add(phase=1)
    param.layer[2].loss_weight.append(0.5)
    spelled_out = expand(param).layer[2:]
    assert all(layer.include[0].phase == 1 for layer in spelled_out)
    assert [list(layer.loss_weight) for layer in spelled_out if layer.loss_weight] == [[0.5]]


def test_a_net_without_the_layer():
    param = parse('layer { name: "r" type: "ReLU" bottom: "a" top: "b" }')
    assert expand(param) == param


def test_a_name_that_is_taken():
    param = fused_net((1, 2, 6, 5))
    param.layer.add(name="spn_lr_sum", type="ReLU", bottom=["h"], top=["out"])
    with pytest.raises(PrototxtError, match="needs the name 'spn_lr_sum', which is taken"):
        expand(param)


def test_a_blob_that_is_taken():
    param = fused_net((1, 2, 6, 5))
    param.layer.add(name="relu", type="ReLU", bottom=["h"], top=["spn_lr_g1"])
    with pytest.raises(PrototxtError, match="needs the blob 'spn_lr_g1'"):
        expand(param)


def test_no_units():
    with pytest.raises(PrototxtError, match="units is 0; it must be at least 1"):
        expand(fused_net((1, 2, 6, 5), units=0))


def test_a_missing_bottom():
    param = fused_net((1, 2, 6, 5))
    del param.layer[2].bottom[1]
    with pytest.raises(PrototxtError, match="has 1 bottoms and 1 tops, not 2 and 1"):
        expand(param)
