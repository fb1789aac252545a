"""Checks of the commands and their flags, and of the layer types.

What each command and each layer does is tested in tests/tools and tests/layers.
"""

import os

import caffe_spn as caffe
from caffe_spn import layers as L
from caffe_spn.layer import layer_class
from caffe_spn.tools import main as tools
from tests.pycaffe.lab import TRAINED, equal_weights, weights_of
from tests.pycaffe.registry import checks_of

CHECKS = {}
program = checks_of("program", CHECKS)
flag = checks_of("flag", CHECKS)
companion = checks_of("companion", CHECKS)
layer_type = checks_of("type", CHECKS)

COMPANIONS = (
    *("convert_imageset", "compute_image_mean", "extract_features", "upgrade_net_proto_text"),
    *("upgrade_net_proto_binary", "upgrade_solver_proto_text", "classify", "detect", "draw_net"),
    *("train", "parse_log", "plot_training_log", "resize_and_crop_images", "summarize"),
    "extract_seconds",
)
TYPES = (
    *("AbsVal", "Accuracy", "ArgMax", "BNLL", "BatchNorm", "BatchReindex", "Bias", "Clip"),
    *("Concat", "ContrastiveLoss", "Convolution", "Crop", "Data", "Deconvolution", "Dropout"),
    *("DummyData", "ELU", "Eltwise", "Embed", "EuclideanLoss", "Exp", "Filter", "Flatten"),
    *("HDF5Data", "HDF5Output", "HingeLoss", "Im2col", "ImageData", "InfogainLoss"),
    *("InnerProduct", "Input", "LRN", "LSTM", "LSTMUnit", "Log", "MVN", "MemoryData"),
    *("MultinomialLogisticLoss", "PReLU", "Parameter", "Pooling", "Power", "Python", "RNN"),
    *("ReLU", "Reduction", "Reshape", "SPP", "Scale", "Sigmoid", "SigmoidCrossEntropyLoss"),
    *("Silence", "Slice", "Softmax", "SoftmaxWithLoss", "Split", "Swish", "TanH", "Threshold"),
    *("Tile", "WindowData"),
    *("Divide", "GateRecurrent2dnoind", "ROI"),
)


def run(*words):
    return tools.main(list(words))


@program("train")
@flag("solver", "level", "stage", "weights", "snapshot", "sigint_effect", "sighup_effect")
def train(lab):
    solver = lab.solver_file("snapshot: 2")
    lab.net(TRAINED).save("w")
    effects = ("-sigint_effect", "stop", "-sighup_effect", "snapshot")
    assert run("train", "-solver", solver, "-weights", "w", *effects) == 0
    assert "snap_iter_4.solverstate" in os.listdir()
    os.remove("snap_iter_4.solverstate")
    resume = ("-snapshot", "snap_iter_2.solverstate", "-level", "0", "-stage", "a,b")
    assert run("train", "--solver=" + solver, *resume) == 0
    assert "snap_iter_4.solverstate" in os.listdir()


@program("test", "time")
@flag("model", "phase", "iterations")
def test_and_time(lab):
    net = lab.net(TRAINED)
    net.save("w")
    assert run("test", "-model", "net.prototxt", "-weights", "w", "-iterations", "1") == 0
    assert run("time", "-model", "net.prototxt", "-phase", "TRAIN", "-iterations", "1") == 0
    assert equal_weights(weights_of(net), weights_of(caffe.Net("net.prototxt", 1, weights="w")))


@program("device_query")
@flag("gpu")
def devices(lab):
    lab.net(TRAINED)
    assert run("device_query") == 0
    assert run("time", "-model", "net.prototxt", "-gpu", "99") == 1, "there is no such GPU"


@companion(*COMPANIONS)
def companions(lab):
    assert set(COMPANIONS) <= set(tools.COMMANDS)
    assert all(run("help", name) == 0 for name in COMPANIONS)


@layer_type(*TYPES)
def types(lab):
    known = caffe.layer_type_list()
    for name in TYPES:
        assert name in known and layer_class(name) is not None
        made = getattr(L, name)(name="made").fn
        assert made.type_name == name
        if name != "Python":
            assert layer_class(name).type == name
