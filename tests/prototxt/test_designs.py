"""What the designs promise: the published numbers, VGG's names, the boundary target."""

import numpy as np
import pytest

import caffe_spn
from caffe_spn import layers as L
from caffe_spn.net_spec import NetSpec
from caffe_spn.prototxt import parser, small, spn, vgg
from caffe_spn.prototxt.network import build

# conv1_1 to conv5_3 of VGG_ILSVRC_16_layers.caffemodel: output and input channels.
VGG_SHAPES = {
    "conv1_1": (64, 3),
    "conv1_2": (64, 64),
    "conv2_1": (128, 64),
    "conv2_2": (128, 128),
    "conv3_1": (256, 128),
    "conv3_2": (256, 256),
    "conv3_3": (256, 256),
    "conv4_1": (512, 256),
    "conv4_2": (512, 512),
    "conv4_3": (512, 512),
    "conv5_1": (512, 512),
    "conv5_2": (512, 512),
    "conv5_3": (512, 512),
}


def deploy(network):
    return caffe_spn.Net(build(network, "deploy"), caffe_spn.TEST)


def layer(network, name, part="train"):
    return {one.name: one for one in build(network, part).layer}[name]


def expected_boundary(label, ignore_label=255):
    """1 where the labels in the 3x3 pixels around differ, 255 where one of them is ignored."""
    height, width = label.shape
    target = np.zeros(label.shape)
    for i in range(height):
        for j in range(width):
            near = label[max(0, i - 1) : i + 2, max(0, j - 1) : j + 2]
            if (near == ignore_label).any():
                target[i, j] = ignore_label
            else:
                target[i, j] = near.min() != near.max()
    return target


# VOC


def test_vgg_weights_fit():
    net = deploy(vgg.VOC_SPN)
    convolutions = {name: blobs for name, blobs in net.params.items() if name[:4] == "conv"}
    assert {name: blobs[0].shape for name, blobs in convolutions.items()} == {
        name: (*channels, 3, 3) for name, channels in VGG_SHAPES.items()
    }
    assert all(b[1].shape == (len(b[0].data),) for b in convolutions.values())


def test_vgg_learns_at_a_tenth_of_the_rate():
    for name in VGG_SHAPES:
        assert [p.lr_mult for p in layer(vgg.VOC_SPN, name).param] == pytest.approx([0.1, 0.1])
    assert not layer(vgg.VOC_SPN, "decode4").param


def test_published_solver_for_voc():
    wanted = dict(base_lr=1e-4, momentum=0.9, weight_decay=0.005, clip_gradients=1000)
    wanted |= dict(lr_policy="poly", power=0.5, max_iter=60001)
    assert wanted.items() <= vgg.VOC_SPN.solver.items()
    patches = layer(vgg.VOC_SPN, "data").segmentation_patch_param
    assert (patches.batch_size, patches.patches_per_image) == (40, 10)
    assert list(patches.mean_value) == pytest.approx([103.939, 116.779, 123.68])


def test_loss_is_summed_and_ignores_255():
    for network in (vgg.VOC_SPN, spn.HELEN_SPN, small.DEMO):
        param = layer(network, "loss").loss_param
        assert param.HasField("normalize") and not param.normalize and param.ignore_label == 255
        assert layer(network, "accuracy", "test").accuracy_param.ignore_label == 255


# HELEN


@pytest.mark.parametrize(("network", "gates"), [(spn.HELEN_SPN, 384), (spn.HELEN_SPN_ONEWAY, 128)])
def test_helen_sizes(network, gates):
    net = deploy(network)
    shapes = {name: blob.shape[1:] for name, blob in net.blobs.items()}
    assert shapes["pool5"] == (512, 4, 4)
    assert shapes["mask"] == shapes["propagated"] == (32, 64, 64)
    assert shapes["guidance"] == (gates, 64, 64)
    assert shapes["refine"] == (64, 128, 128) and shapes["prob"] == (11, 128, 128)
    assert net.params["mask"][0].shape == (32, 11, 4, 4)


def test_parser_is_symmetric():
    shapes = {name: blob.shape[1:] for name, blob in deploy(parser.HELEN_PARSER).blobs.items()}
    for stage, channels in enumerate(parser.STAGES[:-1], start=1):
        size = 128 >> stage
        assert shapes[f"merge{stage}"] == (channels, size, size)
        assert shapes[f"pool{stage}"] == (channels, size, size)
    assert shapes["pool5"] == (512, 4, 4) and shapes["score"] == (11, 128, 128)


def test_highres_parser_has_three_more_stages_of_16():
    net = build(parser.HELEN_PARSER_HIGHRES, "deploy")
    encoder = [
        one.convolution_param.num_output
        for one in net.layer
        if one.type == "Convolution" and one.name.startswith("conv")
    ]
    assert encoder == [16, 16, 16, 32, 64, 128, 256, 512]
    assert list(net.layer[0].input_param.shape[0].dim) == [1, 3, 1024, 1024]


def test_boundary_target():
    label = np.zeros((9, 12), np.float32)
    label[2:6, 3:8] = 4
    label[4, 5] = 1
    label[0, 10:] = 255
    label[7:, :2] = 255
    n = NetSpec()
    n.label = L.Input(shape=dict(dim=[1, 1, *label.shape]))
    parser.add_boundary_target(n)
    net = caffe_spn.Net(n.to_proto(), caffe_spn.TEST)
    target = net.forward(label=label[None, None])["boundary_target"]
    np.testing.assert_array_equal(target[0, 0], expected_boundary(label))


# The demonstration


def test_demo_sizes():
    net = deploy(small.DEMO)
    shapes = {name: blob.shape[1:] for name, blob in net.blobs.items()}
    assert shapes["conv4"] == (128, 16, 16)
    assert shapes["merge2"] == (64, 32, 32) and shapes["merge1"] == (32, 64, 64)
    assert shapes["mask"] == (16, 64, 64) and shapes["guidance"] == (192, 64, 64)
