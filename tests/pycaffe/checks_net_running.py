"""Checks of how a Net runs."""

import numpy as np
import pytest

from tests.pycaffe.lab import FROM_MEMORY
from tests.pycaffe.registry import checks_of

CHECKS = {}
net = checks_of("Net", CHECKS)


@net("forward")
def forward(lab):
    made = lab.net()
    x = np.arange(6).reshape(2, 3)
    out = made.forward(["affine"], x=x)
    assert set(out) == {"y", "affine"}
    np.testing.assert_array_equal(out["affine"], 2 * x + 1)
    assert np.shares_memory(out["y"], made.blobs["y"].data)
    assert set(made.forward(end="affine")) == {"affine"}
    made.blobs["affine"].data[...] = 0
    assert not made.forward(start="fc", end="fc")["y"].any()
    with pytest.raises(Exception, match=r"^Input blob arguments do not match net inputs\.$"):
        made.forward(z=x)
    with pytest.raises(Exception, match=r"^Input is not batch sized$"):
        made.forward(x=np.zeros((3, 3)))
    with pytest.raises(ValueError, match="'none' is not in list"):
        made.forward(start="none")


@net("backward")
def backward(lab):
    made = lab.net()
    made.forward()
    diff = np.array([[1, 2, 3], [0, 0, 1]], np.float32)
    out = made.backward(["affine"], y=diff)
    weights = made.params["fc"][0].data
    np.testing.assert_allclose(out["affine"], diff @ weights, rtol=1e-5)
    np.testing.assert_allclose(out["x"], 2 * diff @ weights, rtol=1e-5)
    made.blobs["affine"].diff[...] = 5
    assert set(made.backward(start="affine", end="affine")) == {"x"}
    assert (made.blobs["x"].diff == 10).all()
    with pytest.raises(Exception, match=r"^Top diff arguments do not match net outputs\.$"):
        made.backward(affine=diff)
    with pytest.raises(Exception, match=r"^Diff is not batch sized$"):
        made.backward(y=np.zeros((5, 3)))


@net("forward_all")
def forward_all(lab):
    made = lab.net()
    x = np.random.default_rng(0).random((5, 3))
    out = made.forward_all(["affine"], x=x)
    np.testing.assert_allclose(out["affine"], 2 * x + 1, rtol=1e-6)
    last = made.forward(x=x[[4, 4]])["y"][0]
    assert out["y"].shape == (5, 3) and np.allclose(out["y"][4], last, rtol=1e-6)


@net("forward_backward_all")
def forward_backward_all(lab):
    made = lab.net()
    x, y = np.random.default_rng(0).random((2, 5, 3))
    outs, diffs = made.forward_backward_all(["affine"], ["affine"], x=x, y=y)
    assert set(outs) == {"y", "affine"} and set(diffs) == {"x", "affine"}
    weights = made.params["fc"][0].data
    np.testing.assert_allclose(diffs["x"], 2 * y @ weights, rtol=1e-4)
    np.testing.assert_allclose(outs["y"], (2 * x + 1) @ weights.T, rtol=1e-4)


@net("_forward")
def forward_by_index(lab):
    made = lab.trained()
    loss = made._forward(0, len(made.layers) - 1)
    assert isinstance(loss, float) and loss == pytest.approx(float(made.blobs["loss"].data))
    assert made._forward(0, 1) == 0


@net("_backward")
def backward_by_index(lab):
    made = lab.net()
    made.forward()
    made.blobs["affine"].diff[...] = 1
    assert made._backward(1, 0) is None
    assert (made.blobs["x"].diff == 2).all()


@net("_batch")
def batch(lab):
    made = lab.net()
    arrays = np.arange(15).reshape(5, 3)
    batches = list(made._batch({"x": arrays}))
    assert [len(b["x"]) for b in batches] == [2, 2, 2]
    np.testing.assert_array_equal(batches[2]["x"], [[12, 13, 14], [0, 0, 0]])
    assert [len(b["other"]) for b in made._batch({"other": arrays})] == [2, 2, 2]


@net("set_input_arrays", "_set_input_arrays")
def set_input_arrays(lab):
    made = lab.net(FROM_MEMORY)
    data = np.random.default_rng(0).random((4, 1, 2, 3)).astype(np.float32)
    labels = np.arange(4, dtype=np.float32)
    made.set_input_arrays(data, labels)
    for part in (data[:2], data[2:], data[:2]):
        np.testing.assert_array_equal(made.forward()["twice"], 2 * part)
    assert made.blobs["label"].data.ravel().tolist() == [0, 1]
    with pytest.raises(RuntimeError, match="float32"):
        made.set_input_arrays(data.astype(float), labels)
    with pytest.raises(RuntimeError, match="multiple of batch_size"):
        made._set_input_arrays(data[:3], labels[:3, None, None, None])
    with pytest.raises(RuntimeError, match="first layer is MemoryData"):
        lab.net().set_input_arrays(data, labels)


@net("reshape")
def reshape(lab):
    made = lab.net()
    made.blobs["x"].reshape(7, 3)
    made.reshape()
    assert made.blobs["y"].data.shape == (7, 3)


@net("clear_param_diffs")
def clear_param_diffs(lab):
    made = lab.trained()
    made.forward()
    made.backward()
    diff = made.params["conv"][0].diff
    assert diff.any()
    made.clear_param_diffs()
    assert not diff.any()


@net("before_forward", "after_forward", "before_backward", "after_backward")
def callbacks(lab):
    made = lab.net()
    calls = []
    for event in ("before_forward", "after_forward", "before_backward", "after_backward"):
        getattr(made, event)(lambda index, event=event: calls.append((event, index)))
    made.forward()
    made.backward()
    names = ("forward", "backward")
    assert calls == [
        (f"{when}_{name}", index)
        for name, order in zip(names, ([0, 1, 2], [2, 1, 0]), strict=True)
        for index in order
        for when in ("before", "after")
    ]
