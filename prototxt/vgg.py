"""The refinement network for PASCAL VOC: guidance from VGG-16, fine-tuned.

The layers up to pool5 have the names of the published VGG_ILSVRC_16_layers.caffemodel, so that
its weights can be given to the training; they learn at a tenth of the rate.

Source: Liu et al., Learning Affinity via Spatial Propagation Networks, NIPS 2017, section 5;
Simonyan and Zisserman, Very Deep Convolutional Networks, ICLR 2015, configuration D.
"""

from __future__ import annotations

from caffe_spn import layers as L
from caffe_spn.net_spec import NetSpec, Top
from caffe_spn.prototxt.blocks import convolution, max_pool
from caffe_spn.prototxt.network import Network, Options
from caffe_spn.prototxt.parser import decode
from caffe_spn.prototxt.spn import SECTIONS, add_head

# Convolutions and channels of each stage.
VGG_STAGES = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
MEAN = (103.939, 116.779, 123.68)
FINE_TUNED = [dict(lr_mult=0.1, decay_mult=1), dict(lr_mult=0.1, decay_mult=0)]


def vgg16(n: NetSpec, bottom: Top) -> list[Top]:
    """VGG-16 up to pool5; returns the five pooled maps."""
    pooled = []
    for stage, (depth, channels) in enumerate(VGG_STAGES, start=1):
        for i in range(1, depth + 1):
            name = f"{stage}_{i}"
            n[f"conv{name}"] = convolution(bottom, channels, param=FINE_TUNED)
            n[f"relu{name}"] = bottom = L.ReLU(n[f"conv{name}"], in_place=True)
        n[f"pool{stage}"] = bottom = max_pool(bottom)
        pooled.append(bottom)
    return pooled


def _scores(n: NetSpec, options: Options) -> None:
    channels = [c for _, c in VGG_STAGES]
    add_head(n, decode(n, vgg16(n, n.image), channels), options)


VOC_SPN = Network(
    name="voc_spn",
    title="Spatial propagation network guided by VGG-16, {connection}, {classes} classes",
    scores=_scores,
    options=Options(
        classes=21,
        source="data/VOC2012",
        patches_per_image=10,
        batch=40,
        normalization="sum-abs",
    ),
    solver=dict(
        base_lr=1e-4,
        lr_policy="poly",
        power=0.5,
        max_iter=60001,
        momentum=0.9,
        weight_decay=0.005,
        clip_gradients=1000,
        test_iter=[50],
        test_interval=1000,
        display=20,
        snapshot=5000,
    ),
    notes={"solver": "Start from VGG: --weights VGG_ILSVRC_16_layers.caffemodel"},
    sections={
        **{name: line for name, line in SECTIONS.items() if name not in ("input", "conv1")},
        "conv1_1": "Guidance, encoder: VGG-16, at a tenth of the learning rate",
    },
    mean=MEAN,
)
