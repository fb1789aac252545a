"""The baseline face parser: an hourglass of convolutions that labels a small image.

Its encoder halves the map after each convolution, its decoder doubles it and adds the encoder's
maps of the same size. Trained for two objectives at once: the classes, and where they meet.

Source: Liu et al., Learning Affinity via Spatial Propagation Networks, NIPS 2017, section 5.
"""

from __future__ import annotations

from collections.abc import Sequence

from caffe_spn import layers as L
from caffe_spn import params as P
from caffe_spn.net_spec import NetSpec, Top
from caffe_spn.prototxt.blocks import (
    add_up,
    conv_relu,
    convolution,
    max_pool,
    normalized_image,
    upsample,
)
from caffe_spn.prototxt.network import IGNORE_LABEL, Network, Options, add_losses

STAGES = (32, 64, 128, 256, 512)
# Three sub-modules more at each end take an image of 8 times the size.
HIGHRES_STAGES = (16, 16, 16, *STAGES)

SECTIONS = {
    "input": "Pixel values to -1 ... 1",
    "conv1": "Encoder: each stage halves the map",
    "up{top}": "Decoder: each stage doubles the map and adds the encoder's of that size",
    "up0": "Classes at full size",
    "loss": "First objective: the classes",
    "boundary_score": "Second objective: where two classes meet",
    "label_max": "Its target: 1 where the labels around a pixel differ, 255 where one is ignored",
}

SOLVER = dict(
    base_lr=1e-4,
    lr_policy="poly",
    power=0.5,
    max_iter=40000,
    momentum=0.9,
    weight_decay=0.0005,
    clip_gradients=1000,
    test_iter=[20],
    test_interval=1000,
    display=20,
    snapshot=5000,
)


def encode(n: NetSpec, bottom: Top, stages: Sequence[int]) -> list[Top]:
    """Stages of convolution, ReLU and pooling; returns the pooled map of each."""
    pooled = []
    for stage, channels in enumerate(stages, start=1):
        bottom = conv_relu(n, f"conv{stage}", bottom, channels)
        n[f"pool{stage}"] = bottom = max_pool(bottom)
        pooled.append(bottom)
    return pooled


def decode(n: NetSpec, pooled: Sequence[Top], channels: Sequence[int]) -> Top:
    """From the smallest pooled map up to the size of the first one.

    Parameters
    ----------
    n : NetSpec
    pooled : sequence of Top
        Maps of the encoder, each half as large as the one before.
    channels : sequence of int
        Their numbers of channels.

    Returns
    -------
    Top
        At the size of ``pooled[0]``, with ``channels[0]`` channels.
    """
    bottom = pooled[-1]
    for stage in range(len(pooled) - 1, 0, -1):
        n[f"up{stage}"] = upsample(bottom, channels[stage])
        smooth = conv_relu(n, f"decode{stage}", n[f"up{stage}"], channels[stage - 1])
        n[f"merge{stage}"] = bottom = add_up(smooth, pooled[stage - 1])
    return bottom


def parser(name: str, title: str, stages: Sequence[int], options: Options) -> Network:
    """A parser with one encoder stage for each of `stages`, its numbers of channels."""

    def scores(n: NetSpec, options: Options) -> None:
        pooled = encode(n, normalized_image(n), stages)
        n.up0 = upsample(decode(n, pooled, stages), stages[0])
        n.score = convolution(n.up0, options.classes)

    top = len(stages) - 1
    return Network(
        name=name,
        title=title,
        scores=scores,
        losses=_multi_objective,
        options=options,
        solver=SOLVER,
        inputs=("image",),
        sections={key.format(top=top): line for key, line in SECTIONS.items()},
        multiple=2 ** len(stages),
    )


def _multi_objective(n: NetSpec, part: str) -> None:
    add_losses(n, part)
    n.boundary_score = convolution(n.up0, 1)
    n.boundary_loss = L.SigmoidCrossEntropyLoss(
        n.boundary_score,
        add_boundary_target(n),
        loss_param=dict(ignore_label=IGNORE_LABEL, normalize=False),
    )
    n.no_coarse_map_needed = L.Silence(n.coarse, ntop=0)


def add_boundary_target(n: NetSpec) -> Top:
    """1 where the 3x3 labels around a pixel differ, 0 where not, 255 where one is ignored.

    Made of layers that any Caffe has: labels differ where their largest is not their smallest,
    and the smallest is the negative of the largest negative.
    """

    def largest(bottom: Top) -> Top:
        return L.Pooling(bottom, pool=P.Pooling.MAX, kernel_size=3, stride=1, pad=1)

    n.label_max = largest(n.label)
    n.label_negative = L.Power(n.label, scale=-1)
    n.label_negative_max = largest(n.label_negative)
    n.label_range = add_up(n.label_max, n.label_negative_max)
    n.boundary = L.Threshold(n.label_range, threshold=0.5)
    n.ignored_near = L.Threshold(n.label_max, threshold=IGNORE_LABEL - 0.5)
    n.ignored_mark = L.Power(n.ignored_near, scale=IGNORE_LABEL)
    n.boundary_target = L.Eltwise(n.boundary, n.ignored_mark, operation=P.Eltwise.MAX)
    return n.boundary_target


HELEN_PARSER = parser(
    "helen_parser",
    "Baseline parser for faces reduced to {patch_size}x{patch_size}, {classes} classes",
    STAGES,
    Options(classes=11, source="data/helen", long_side=128, patches_per_image=1, batch=16),
)

HELEN_PARSER_HIGHRES = parser(
    "helen_parser_highres",
    "Parser for faces at {patch_size}x{patch_size}, {classes} classes",
    HIGHRES_STAGES,
    Options(
        classes=11,
        source="data/helen",
        long_side=1024,
        patch_size=1024,
        patches_per_image=1,
        batch=1,
        test_batch=1,
    ),
)
