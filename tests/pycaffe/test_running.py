"""Running parts of a net, levels and stages, old forms of files: as pycaffe's scripts do."""

import warnings

import numpy as np
import pytest

import caffe_spn as caffe
from tests.pycaffe.lab import TRAINED

LEVELS = """
layer { name: "data" type: "DummyData" top: "data"
  dummy_data_param { shape { dim: 1 dim: 4 } } }
layer { name: "always" type: "Power" bottom: "data" top: "always" }
layer { name: "only 0" type: "Power" bottom: "data" top: "only 0"
  include { min_level: 0 max_level: 0 } }
layer { name: "from 0" type: "Power" bottom: "data" top: "from 0" include { min_level: 0 } }
layer { name: "from 1" type: "Power" bottom: "data" top: "from 1" include { min_level: 1 } }
"""

STAGES = """
layer { name: "data" type: "DummyData" top: "data"
  dummy_data_param { shape { dim: 1 dim: 4 } } }
layer { name: "A" type: "Power" bottom: "data" top: "A" include { stage: "A" } }
layer { name: "B" type: "Power" bottom: "data" top: "B" include { stage: "B" } }
layer { name: "A or B" type: "Power" bottom: "data" top: "A or B"
  include { stage: "A" } include { stage: "B" } }
layer { name: "A and B" type: "Power" bottom: "data" top: "A and B"
  include { stage: "A" stage: "B" } }
"""

ALL_IN_ONE = """
layer { name: "train_data" type: "DummyData" top: "data" top: "label"
  dummy_data_param { shape { dim: 2 dim: 3 } shape { dim: 2 } }
  include { phase: TRAIN stage: "train" } }
layer { name: "val_data" type: "DummyData" top: "data" top: "label"
  dummy_data_param { shape { dim: 1 dim: 3 } shape { dim: 1 } }
  include { phase: TEST stage: "val" } }
layer { name: "deploy_data" type: "Input" top: "data"
  input_param { shape { dim: 5 dim: 3 } } include { phase: TEST stage: "deploy" } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 2 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss"
  include: { phase: TRAIN stage: "train" } include: { phase: TEST stage: "val" } }
layer { name: "pred" type: "Softmax" bottom: "ip" top: "pred"
  include: { phase: TEST stage: "deploy" } }
"""


def blobs_of(net):
    return [name for name in net.blobs if "data" not in name]


@pytest.mark.parametrize(
    ("level", "expected"),
    [(0, ["always", "only 0", "from 0"]), (1, ["always", "from 0", "from 1"])],
)
def test_levels(lab, level, expected):
    assert blobs_of(caffe.Net(lab.write(LEVELS), caffe.TEST, level=level)) == expected


@pytest.mark.parametrize(
    ("stages", "expected"),
    [(["A"], ["A", "A or B"]), (["A", "B"], ["A", "B", "A or B", "A and B"]), (None, [])],
)
def test_stages(lab, stages, expected):
    assert blobs_of(caffe.Net(lab.write(STAGES), caffe.TEST, stages=stages)) == expected


@pytest.mark.parametrize(
    ("phase", "stage", "count", "outputs"),
    [
        (caffe.TRAIN, "train", 2, ["loss"]),
        (caffe.TEST, "val", 1, ["loss"]),
        (caffe.TEST, "deploy", 5, ["pred"]),
    ],
)
def test_one_file_for_all_stages(lab, phase, stage, count, outputs):
    net = lab.net(ALL_IN_ONE, phase, stages=[stage])
    assert net.outputs == outputs and list(net.blobs["data"].shape) == [count, 3]


def test_a_layer_alone_forward_and_backward(lab):
    net = lab.trained()
    rng = np.random.default_rng(0)
    conv, score = net.blobs["conv"], net.blobs["score"]
    conv.data[:] = rng.random(conv.data.shape).astype(np.float32)
    assert "score" in net.forward(start="score", end="score")
    weights, bias = (blob.data for blob in net.params["score"])
    expected = conv.data.reshape(4, -1) @ weights.T + bias
    np.testing.assert_allclose(score.data, expected, rtol=1e-3, atol=1e-5)
    score.diff[:] = rng.random(score.data.shape).astype(np.float32)
    assert "conv" in net.backward(start="score", end="score")
    expected = (score.diff @ weights).reshape(conv.data.shape)
    np.testing.assert_allclose(conv.diff, expected, rtol=1e-3, atol=1e-5)


def test_an_input_in_the_old_form(lab):
    net = lab.net(
        'input: "x" input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 4\n'
        "layer { name: 'r' type: 'ReLU' bottom: 'x' top: 'x' }"
    )
    assert net.inputs == ["x"] and net.outputs == ["x"]
    assert net.forward(x=np.full((1, 2, 3, 4), -1))["x"].max() == 0


def test_the_older_constructor_says_that_it_is_old(lab, caplog):
    net = lab.net()
    net.save("w")
    with caplog.at_level("WARNING", "caffe_spn"), warnings.catch_warnings():
        warnings.simplefilter("error")
        caffe.Net("net.prototxt", "w", caffe.TEST)
    assert "deprecated" in caplog.text


def test_labels_that_a_script_sets_stay_while_it_trains(lab):
    solver = lab.solver(more="random_seed: 1")
    labels = np.array([0, 1, 4, 3])
    solver.net.blobs["label"].data[...] = labels
    solver.step(3)
    np.testing.assert_array_equal(solver.net.blobs["label"].data, labels)


@pytest.mark.parametrize("seed", range(5))
def test_large_weights_saturate_the_loss_and_training_goes_on(lab, seed):
    text = TRAINED.replace("std: 0.1", "std: 2.5").replace("num_output: 3", "num_output: 11")
    settings = 'net: "big.prototxt" base_lr: 0.01 momentum: 0.9 weight_decay: 0.0005'
    lab.write(text, "big.prototxt")
    path = lab.write(
        f"{settings} lr_policy: 'inv' gamma: 0.0001 power: 0.75 max_iter: 60 random_seed: {seed}"
        " snapshot_after_train: false",
        "big_solver.prototxt",
    )
    solver = caffe.SGDSolver(path)
    solver.solve()
    assert solver.iter == 60
