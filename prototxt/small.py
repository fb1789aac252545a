"""The demonstration: a small refinement network that a CPU trains in minutes.

The design of the network for HELEN with half the feature maps, a guidance network of three
poolings, and batch norm, with which a few hundred updates are enough.
"""

from __future__ import annotations

from caffe_spn import layers as L
from caffe_spn.net_spec import NetSpec
from caffe_spn.prototxt.blocks import (
    add_up,
    conv_norm_elu,
    convolution,
    max_pool,
    normalized_image,
    upsample,
)
from caffe_spn.prototxt.network import Network, Options
from caffe_spn.prototxt.spn import SECTIONS, add_propagation, one_way


def _scores(n: NetSpec, options: Options) -> None:
    n.pool1 = max_pool(conv_norm_elu(n, "conv1", normalized_image(n), 16))
    half = conv_norm_elu(n, "conv2", n.pool1, 32)
    n.pool2 = max_pool(half)
    quarter = conv_norm_elu(n, "conv3", n.pool2, 64)
    n.pool3 = max_pool(quarter)
    eighth = conv_norm_elu(n, "conv4", n.pool3, 128)
    n.up2 = upsample(eighth, 128)
    n.merge2 = add_up(conv_norm_elu(n, "decode2", n.up2, 64), quarter)
    n.up1 = upsample(n.merge2, 64)
    n.merge1 = add_up(conv_norm_elu(n, "decode1", n.up1, 32), half)
    n.up0 = upsample(add_propagation(n, n.merge1, options), options.channels)
    n.refine = convolution(n.up0, 32)
    n.elu_refine = L.ELU(n.refine, in_place=True)
    n.score = convolution(n.elu_refine, options.classes)


ITERATIONS = 240

DEMO = Network(
    name="demo",
    title="Small spatial propagation network, {connection}, {classes} classes",
    scores=_scores,
    options=Options(classes=2, source="data/dsb2018", channels=16),
    solver=dict(
        base_lr=3e-5,
        lr_policy="step",
        gamma=0.1,
        stepsize=ITERATIONS * 4 // 5,
        max_iter=ITERATIONS,
        momentum=0.9,
        weight_decay=0.0005,
        clip_gradients=2000,
        test_iter=[6],
        test_interval=80,
        display=20,
        snapshot=ITERATIONS,
    ),
    sections={
        **{name: line for name, line in SECTIONS.items() if name != "up4"},
        "up2": SECTIONS["up4"],
    },
    multiple=8,
)

DEMO_ONEWAY = one_way(DEMO)
