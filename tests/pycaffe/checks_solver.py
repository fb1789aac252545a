"""Checks of Solver, and of the settings that pycaffe shows of it."""

import os

import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn.vectors import NetVec
from tests.pycaffe.lab import TRAINED, equal_weights, weights_of
from tests.pycaffe.registry import checks_of

CHECKS = {}
solver = checks_of("Solver", CHECKS)
param = checks_of("param", CHECKS)


@solver("net", "test_nets")
def nets(lab):
    made = lab.solver()
    assert made.net.phase == caffe.TRAIN and isinstance(made.net, caffe.Net)
    assert isinstance(made.test_nets, NetVec) and len(made.test_nets) == 1
    assert made.test_nets[0].phase == caffe.TEST
    kept = [made.net, *made.test_nets]
    del made
    assert all(np.isfinite(net.forward()["loss"]) for net in kept), "nets outlive their solver"


@solver("iter", "step", "solve")
def train(lab):
    made = lab.solver()
    assert made.iter == 0
    made.step(3)
    assert made.iter == 3
    made.solve()
    assert made.iter == 4


@solver("snapshot", "restore")
def snapshot_and_restore(lab):
    made = lab.solver()
    made.step(2)
    made.snapshot()
    names = {f"snap_iter_2.{kind}" for kind in ("caffemodel", "solverstate")}
    assert names <= set(os.listdir(lab.folder))
    other = lab.solver()
    other.restore(lab.path("snap_iter_2.solverstate"))
    assert other.iter == 2 and equal_weights(weights_of(other.net), weights_of(made.net))
    third = lab.solver()
    third.solve(lab.path("snap_iter_2.solverstate"))
    assert third.iter == 4
    with pytest.raises(RuntimeError, match="no such solver state"):
        made.restore("none.solverstate")


@solver("share_weights")
def share_weights(lab):
    made, other = lab.solver(), lab.net(TRAINED)
    made.share_weights(other)
    made.step(1)
    assert equal_weights(weights_of(other), weights_of(made.net))


@solver("apply_update")
def apply_update(lab):
    made = lab.solver()
    weights = made.net.params["conv"][0]
    weights.data[...] = 0
    weights.diff[...] = 1
    assert made.apply_update() is None
    np.testing.assert_allclose(weights.data, -0.01, rtol=1e-6)
    assert made.iter == 1


@solver("add_callback")
def add_callback(lab):
    made = lab.solver()
    seen = []
    made.add_callback(
        lambda: seen.append(("start", made.iter)), lambda: seen.append(("gradient", made.iter))
    )
    made.add_callback("", lambda: seen.append(made.net.params["conv"][0].diff.any()))
    made.step(2)
    assert seen == [("start", 0), ("gradient", 0), True, ("start", 1), ("gradient", 1), True]


@solver("param")
@param("max_iter", "display", "layer_wise_reduce", "base_lr")
def settings(lab):
    made = lab.solver(more="display: 3")
    assert (made.param.max_iter, made.param.display) == (4, 3)
    assert made.param.layer_wise_reduce is True
    assert made.param.base_lr == pytest.approx(0.01)
    made.param.base_lr = 0.5
    assert made.lr == pytest.approx(0.5)


@solver("lr", "set_iter")
def learning_rate(lab):
    made = lab.solver()
    assert made.lr == pytest.approx(0.01)
    made.set_iter(30)
    assert made.iter == 30 and made.lr == pytest.approx(0.01 / (1 + 0.1 * 30) ** 0.5)
